"""Small videos for tests, written with PyAV, which only the tests of the extras have."""

import fractions

import numpy as np

from cyclegan_tf.data import demo

BASE = fractions.Fraction(1, 12800)
STEPS = (1200, 512, 512)  # durations of frames, in units of BASE, again and again


def pan(count, height=48, width=64):
    """Frames of a camera that moves over a photograph, uint8 [h, w, 3]."""
    picture = np.concatenate(list(demo.regions('test', 'A').values())[:2], axis=1)
    return [np.ascontiguousarray(picture[40 : 40 + height, 2 * i : 2 * i + width]) for i in range(count)]


def write(
    path,
    frames,
    container='mp4',
    codec='libx264',
    pixels='yuv420p',
    tags=(1, 1, 1, 1),
    rotation=None,
    sound='aac',
    steps=STEPS,
    metadata=None,
    ratio=None,
    start=0,
):
    """Writes frames, uint8 [h, w, 3], and a tone; returns their times and durations in units of 1/12800 second.

    tags: FFmpeg's numbers of the colour space, the primaries, the curve and the range.
    """
    import av

    height, width = frames[0].shape[:2]
    with av.open(str(path), 'w', format=container) as output:
        output.metadata.update(metadata or {})
        video = output.add_stream(codec, rate=25, options={'crf': '1'})
        video.width, video.height, video.pix_fmt = width, height, pixels
        context = video.codec_context
        if ratio is not None:
            context.sample_aspect_ratio = fractions.Fraction(*ratio)
        context.time_base = fractions.Fraction(1, 25) if container == 'avi' else BASE
        context.flags |= av.codec.context.Flags.frame_duration
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = tags
        if rotation is not None:
            video.set_display_rotation(rotation)
        rate = 44100 if sound == 'wmav2' else 8000
        tone = output.add_stream(sound, rate=rate, layout='mono') if sound else None
        if sound == 'wmav2':
            tone.bit_rate = 64000
        times, time = [], start
        for number, picture in enumerate(frames):
            matrix, reach = (1 if tags[0] == 1 else 5), tags[3] or 1
            frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
            frame = frame.reformat(format=pixels, dst_colorspace=matrix, dst_color_range=reach)
            frame.colorspace, frame.color_range = tags[0], tags[3]
            times.append((time, steps[number % len(steps)]))
            frame.pts, frame.duration = (number, 1) if container == 'avi' else times[-1]
            frame.time_base = context.time_base
            time += times[-1][1]
            for packet in video.encode(frame):
                output.mux(packet)
        if tone is not None:
            wave = np.sin(np.arange(int(time * BASE * rate)) / rate * 440 * 2 * np.pi) * 0.3
            form = 's16' if sound.startswith('pcm') else 'fltp'
            wave = (wave * 32767).astype(np.int16) if sound.startswith('pcm') else wave.astype(np.float32)
            for first in range(0, len(wave), 1024):
                part = av.AudioFrame.from_ndarray(wave[None, first : first + 1024], format=form, layout='mono')
                part.sample_rate, part.pts, part.time_base = rate, first, fractions.Fraction(1, rate)
                for packet in tone.encode(part):
                    output.mux(packet)
        for stream in filter(None, (video, tone)):
            for packet in stream.encode():
                output.mux(packet)
    return times


def damage(path, target, times):
    """Writes a video whose packets of frames with these times, in units of 1/12800 second, are overwritten."""
    import av

    data = bytearray(path.read_bytes())
    with av.open(str(path)) as file:
        places = {one.pts: (one.pos, one.size) for one in file.demux(video=0) if one.size}
    for time in times:
        position, size = places[time]
        data[position : position + size] = b'\xff' * size
    target.write_bytes(data)


def packets(path, kind):
    """The packets of the streams of a kind, such as 'audio': their times in seconds, and their bytes."""
    import av

    with av.open(str(path)) as file:
        found = [one for one in file.demux(**{kind: 0}) if one.size]
        return [float(one.pts * one.time_base) for one in found], [bytes(one) for one in found]


def decoded(path):
    """Frames as PyAV gives them, with their times in seconds, and the stream's description."""
    import av

    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        frames = list(file.decode(stream))
        context = stream.codec_context
        about = {
            'codec': context.name,
            'pixels': context.pix_fmt,
            'tags': (context.colorspace, context.color_primaries, context.color_trc, context.color_range),
            'rotation': frames[0].rotation,
            'seconds': file.duration / av.time_base,
            'metadata': file.metadata,
        }
        return [frame.to_ndarray(format='rgb24') for frame in frames], [frame.time for frame in frames], about
