"""Names are told apart, and so are paths of results."""

from cyclegan_tf.data.names import distinct_paths, unique_names


def test_names_are_unique_whatever_the_files_are_called():
    paths = ['a.jpg', 'a.png', 'a_jpg.png', 'b.png', 'sub/a.jpg', 'a_png_2.bmp', 'a_png.bmp']
    assert unique_names(paths) == ['a_jpg_2', 'a_png_3', 'a_jpg', 'b', 'sub/a', 'a_png_2', 'a_png']


def test_no_two_inputs_write_one_output():
    names = ['a', 'A', 'b/c', 'a_2', 'a']
    paths = distinct_paths(names)
    assert len({path.lower() for path in paths}) == 5 and paths[0] == 'a'
