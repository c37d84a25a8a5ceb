"""The pool fills first, then answers half of the time from its history; a checkpoint holds it."""

import numpy as np
import pytest
import tensorflow as tf

from cyclegan_tf.models.image_pool import ImagePool

SIZE = 10


def numbered(first, count):
    """Images whose every pixel is their number."""
    return tf.reshape(tf.range(first, first + count, dtype=tf.float32), [-1, 1, 1, 1]) * tf.ones([1, 2, 2, 1])


def feed(pool, batches, batch, start=0):
    query = tf.function(pool.query)
    answers = []
    for step in range(start, start + batches):
        answers += list(query(numbered(step * batch, batch), tf.constant([7, step])).numpy()[:, 0, 0, 0])
    return np.array(answers)


@pytest.mark.parametrize('batch', [1, 2, 5])
def test_fills_first_and_returns_what_came(batch):
    answers = feed(pool := ImagePool(SIZE, (2, 2, 1)), SIZE // batch, batch)
    np.testing.assert_array_equal(answers, np.arange(SIZE))
    np.testing.assert_array_equal(pool.images[:, 0, 0, 0], np.arange(SIZE))
    assert int(pool.count) == SIZE


@pytest.mark.parametrize('batch', [1, 4])
def test_then_half_of_the_answers_come_from_the_history(batch):
    steps = 2000 // batch
    answers = feed(pool := ImagePool(SIZE, (2, 2, 1)), steps, batch)
    came = np.arange(len(answers))
    old = answers[SIZE:] < came[SIZE:]
    assert old.mean() == pytest.approx(0.5, abs=0.03)
    assert np.all(answers <= came)
    # Replaced images never come again: each number is answered at most once from the history.
    history = answers[SIZE:][old]
    assert len(set(history)) == len(history)
    # The place is drawn evenly, so an image stays for SIZE replacements, 2 * SIZE images, on the average.
    assert np.mean(came[SIZE:][old] - history) == pytest.approx(2 * SIZE, rel=0.15)
    assert len(set(pool.images.numpy()[:, 0, 0, 0])) == SIZE


def test_size_zero_returns_what_came_and_has_no_state():
    pool = ImagePool(0, (2, 2, 1))
    np.testing.assert_array_equal(feed(pool, 20, 1), np.arange(20))
    assert pool.variables == ()


def test_no_gradient_flows_through():
    pool, x = ImagePool(2, (2, 2, 1)), numbered(1, 1)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(pool.query(x, tf.constant([0, 0])))
    assert tape.gradient(y, x) is None


def test_a_checkpoint_holds_it(tmp_path):
    pool = ImagePool(SIZE, (2, 2, 1))
    feed(pool, 30, 1)
    path = tf.train.Checkpoint(pool=pool).save(str(tmp_path / 'pool'))
    expected = feed(pool, 30, 1, start=30)
    fresh = ImagePool(SIZE, (2, 2, 1))
    tf.train.Checkpoint(pool=fresh).restore(path).assert_consumed()
    np.testing.assert_array_equal(feed(fresh, 30, 1, start=30), expected)


@pytest.mark.own_process
def test_two_replicas_share_one_pool():
    alone, shared = ImagePool(SIZE, (2, 2, 1)), None
    strategy = tf.distribute.MirroredStrategy(['/cpu:0', '/cpu:1'])
    with strategy.scope():
        shared = ImagePool(SIZE, (2, 2, 1))

    @tf.function
    def both(images, seed):
        def query():
            i = tf.distribute.get_replica_context().replica_id_in_sync_group * 2
            return shared.query(tf.ensure_shape(images[i : i + 2], [2, 2, 2, 1]), seed)

        return tf.concat(strategy.experimental_local_results(strategy.run(query)), axis=0)

    for step in range(12):
        images, seed = numbered(step * 4, 4), tf.constant([7, step])
        np.testing.assert_array_equal(both(images, seed), alone.query(images, seed))
    for value in strategy.experimental_local_results(shared.images):
        np.testing.assert_array_equal(value, alone.images)
