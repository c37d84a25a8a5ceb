"""What a GPU has to do is counted as by hand."""

import dataclasses

import pytest
import tensorflow as tf
from benchmark import gpu, parts, roofline
from benchmark.settings import GpuConfig

from cyclegan_tf.models import MODELS
from cyclegan_tf.settings.models import CycleGANConfig

SIDE, BATCH = 12, 2
PIXELS = BATCH * SIDE * SIDE


def counted(function, *shapes):
    """The kernels of a function of float32 tensors, fused and not."""
    tensors = [tf.zeros(shape) for shape in shapes]
    compiled = tf.function(function, jit_compile=True).experimental_get_compiler_ir(*tensors)
    # With a device's name: else TensorFlow asks a random number for its own, which determinism refuses without a seed.
    text = compiled(stage='hlo', device_name=tensors[0].device)
    return roofline.count(text)


def operations(kernels):
    return sum(kernel.products for kernel in kernels)


@pytest.mark.parametrize(
    'padding, stride, pairs',
    [
        ('VALID', 1, (3 * (SIDE - 2)) ** 2),
        ('SAME', 1, (3 * SIDE - 2) ** 2),  # a pixel and a tap meet; at both ends of an axis one tap meets nothing
        ('SAME', 2, (3 * SIDE // 2 - 1) ** 2),  # TensorFlow pads at the end only
    ],
)
def test_operations_of_a_convolution_are_those_of_the_formula(padding, stride, pairs):
    (kernel,), alone = counted(lambda x, w: tf.nn.conv2d(x, w, stride, padding), [BATCH, SIDE, SIDE, 5], [3, 3, 5, 7])
    assert kernel.products == 2 * BATCH * pairs * 5 * 7 == operations(alone)
    side = SIDE // stride if padding == 'SAME' else SIDE - 2
    assert kernel.bytes == 4 * (PIXELS * 5 + 3 * 3 * 5 * 7 + BATCH * side * side * 7)


@pytest.mark.parametrize('stride', [1, 2])
def test_gradients_of_a_convolution_take_twice_its_operations(stride):
    def gradients(x, w):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = tf.nn.conv2d(x, w, stride, 'SAME')
        return [y, *tape.gradient(y, [x, w], y)]

    shapes = [BATCH, SIDE, SIDE, 5], [3, 3, 5, 7]
    forward, _ = counted(lambda x, w: tf.nn.conv2d(x, w, stride, 'SAME'), *shapes)
    all_three, _ = counted(gradients, *shapes)
    assert operations(all_three) == 3 * operations(forward)
    # The rotation of the kernel is no kernel of its own.
    assert [kernel.opcode for kernel in all_three] == ['convolution'] * 3


def test_operations_of_a_matrix_product():
    (kernel,), _ = counted(lambda x, y: tf.matmul(x, y, transpose_b=True), [3, 4, 5], [3, 6, 5])
    assert (kernel.products, kernel.bytes) == (2 * 3 * 4 * 5 * 6, 4 * (3 * 4 * 5 + 3 * 6 * 5 + 3 * 4 * 6))


def test_values_are_fused_up_to_a_convolution_and_into_a_sum():
    (kernel,), alone = counted(lambda x: tf.nn.relu(x * 2 + 1) - 3, [100])
    assert kernel.bytes == 4 * 200 and kernel.others == 400 and len(alone) == 4
    shape, weights = [BATCH, SIDE, SIDE, 5], [1, 1, 5, 5]
    fused, _ = counted(
        lambda x, w: tf.nn.conv2d(tf.nn.relu(tf.nn.conv2d(x, w, 1, 'SAME')), w, 1, 'SAME'), shape, weights
    )
    assert [kernel.opcode for kernel in fused] == ['convolution', 'maximum', 'convolution']
    (kernel,), _ = counted(lambda x: tf.reduce_sum(tf.square(x), [1]), [10, 20])
    assert (kernel.opcode, kernel.bytes, kernel.others) == ('reduce', 4 * (200 + 10), 400)


def test_a_value_with_several_readers_is_computed_again_where_that_takes_no_more_bytes():
    two, _ = counted(lambda x: (tf.reduce_sum(tf.exp(x)), tf.reduce_max(tf.exp(x))), [100])
    assert [kernel.bytes for kernel in two] == [404, 404]
    # The sum of four values would be read four times over; it is written once.
    three, _ = counted(lambda *x: (tf.reduce_sum(tf.add_n(x)), tf.reduce_max(tf.add_n(x))), [100], [100], [100], [100])
    assert sorted(kernel.bytes for kernel in three) == [404, 404, 4 * 500]


def test_only_what_a_slice_takes_is_read_and_only_what_is_needed_is_computed_once():
    (kernel,), _ = counted(lambda x: tf.exp(x[:10]), [1000])
    assert kernel.bytes == 4 * 20
    text = """HloModule step

ENTRY %step (x.1: f32[10,10]) -> (f32[10,10], f32[100]) {
  %x.1 = f32[10,10]{1,0} parameter(0)
  %product.2 = f32[10,10]{1,0} dot(f32[10,10]{1,0} %x.1, f32[10,10]{1,0} %x.1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %unused.7 = f32[10,10]{1,0} negate(f32[10,10]{1,0} %product.2)
  %power.3 = f32[10,10]{1,0} exponential(f32[10,10]{1,0} %x.1)
  %again.4 = f32[10,10]{1,0} exponential(f32[10,10]{1,0} %x.1)
  %flat.5 = f32[100]{0} reshape(f32[10,10]{1,0} %again.4), metadata={op_name="flat"}
  ROOT %tuple.6 = (f32[10,10]{1,0}, f32[100]{0}) tuple(f32[10,10]{1,0} %power.3, f32[100]{0} %flat.5)
}
"""  # noqa: E501
    fused, alone = roofline.count(text)
    assert [(kernel.opcode, kernel.bytes) for kernel in fused] == [('exponential', 800)] and alone == fused


def test_a_norm_in_training_is_sums_and_a_formula():
    def norm(x):
        ones = tf.ones([5])
        return tf.raw_ops.FusedBatchNormV3(
            x=x, scale=ones, offset=ones, mean=[], variance=[], epsilon=1e-5, is_training=True
        ).y

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = norm(x)
        return tape.gradient(y, x, x)

    shape, values = [BATCH, SIDE, SIDE, 5], PIXELS * 5
    fused, _ = counted(lambda x: tf.nn.relu(norm(x)), shape)
    assert [kernel.opcode for kernel in fused] == ['reduce', 'maximum']
    assert [kernel.bytes for kernel in fused] == [4 * (values + 10), 4 * (2 * values + 10)]
    fused, _ = counted(gradient, shape)
    assert [kernel.opcode for kernel in fused] == ['reduce', 'reduce', 'norm-formula']


def test_the_update_of_a_variable_and_its_moments_is_one_kernel():
    variable, *moments = (tf.Variable(tf.zeros([100])) for _ in range(3))

    def update(gradient):
        first = moments[0].assign(0.5 * moments[0] + 0.5 * gradient)
        second = moments[1].assign(0.9 * moments[1] + 0.1 * gradient * gradient)
        variable.assign_sub(first / (tf.sqrt(second) + 1e-8))

    (kernel,), _ = counted(update, [100])
    assert kernel.bytes == 4 * 100 * (4 + 3)


def test_what_is_not_counted_is_refused():
    with pytest.raises(ValueError, match=r'is a while, which is not counted'):
        counted(lambda x: tf.while_loop(lambda x: tf.reduce_sum(x) < 3, lambda x: [x + 1], [x]), [2])


def test_a_kernel_takes_the_longer_of_operations_and_bytes():
    kernels = [
        roofline.Kernel('c', 'convolution', 495e9, 'f32', 0.0, 3.35e6),
        roofline.Kernel('b', 'convolution', 989e9, 'bf16', 0.0, 3.35e6),
        roofline.Kernel('e', 'add', 0.0, '', 67e3, 3.35e9),
    ]
    found = roofline.summarise(kernels, roofline.PEAKS['bfloat16'])
    assert found['roofline_seconds'] == pytest.approx(3e-3) == pytest.approx(found['floor_seconds'])
    assert found['seconds_bound_by_operations'] == pytest.approx(2e-3)
    assert (found['kernels'], found['convolutions'], found['launch_seconds']) == (3, 2, 9e-6)
    in_float32 = roofline.summarise(kernels[:1], roofline.PEAKS['float32'])
    assert in_float32['roofline_seconds'] == pytest.approx(495 / 67 * 1e-3)
    tiny = roofline.summarise([dataclasses.replace(kernels[2], others=0.0, bytes=1.0)], roofline.PEAKS['TF32'])
    assert tiny['floor_seconds'] == roofline.LAUNCH_SECONDS > tiny['roofline_seconds']


@pytest.mark.slow
@pytest.mark.own_process
def test_the_whole_step_takes_the_operations_of_its_parts():
    sizes = dict(netG='resnet_6blocks', ngf=4, ndf=4, crop_size=64)
    settings = gpu.step_settings('cycle_gan', 1, GpuConfig(**sizes, dry_run=True), full_size=True)
    kernels, alone = roofline.count(gpu.hlo('float32', settings))
    config = CycleGANConfig(dataroot='demo', load_size=64, **sizes)
    passes, inputs = parts.plan(MODELS['cycle_gan'](config), config, tf.zeros([1, 64, 64, 3]))
    expected = sum(one.calls * parts.pass_flops(one, inputs[one.part.name].shape) for one in passes)
    # Those of the parts count products with the layers' own zeros at the border, too.
    assert 0.9 < operations(kernels) / expected <= 1
    assert operations(alone) == operations(kernels) and len(kernels) < len(alone) / 3
