"""What was measured, as one number and as scalars."""

import numpy as np
import pytest

from cyclegan_tf.errors import UserError
from cyclegan_tf.evaluation import results


def test_what_stands_for_a_checkpoint():
    measured = {'AtoB': {'psnr': 20.0, 'fid': 3.0, 'images': 5}, 'BtoA': {'psnr': 10.0, 'images': 5}}
    assert results.overall(measured, 'psnr') == 15 and results.overall(measured, 'psnr_BtoA') == 10
    assert results.overall(measured, 'fid') == 3
    assert results.find_overall({'AtoB': {'psnr': 'inf'}}, 'psnr') == np.inf  # as JSON has it
    assert results.find_overall(measured, 'kid') is None
    assert results.scalars(measured) == {'psnr_AtoB': 20.0, 'fid_AtoB': 3.0, 'psnr_BtoA': 10.0}
    with pytest.raises(UserError, match='`keep_best` .fid_BtoA. was not measured; set it to one of: psnr_AtoB'):
        results.overall(measured, 'fid_BtoA')
    better = results.is_better
    assert better('psnr', 2, 1) and not better('psnr', 1, 1) and better('ssim_AtoB', 2, 1)
    nan = float('nan')
    assert better('psnr', 1, nan) and better('fid', 1, nan) and not better('psnr', nan, 1) and not better('fid', nan, 1)
    assert better('fid', 1, 2) and better('kid_BtoA', 1, 2) and better('cycle', 1, 2) and not better('cycle', 2, 1)
