"""Flags, and values of flags, that the PyTorch programs of CycleGAN, pix2pix and CUT have and we do not: what to do.

Where a flag or a value is defined here after all, by a program or by a later model, it comes first.
"""

# ------------------------------------------------------------------------------------------------------ flags of models
_PIX2PIX = 'it is of pix2pix, which is not there yet, so leave it out'
_CUT = 'it is of CUT, which is not there yet, so leave it out'
_ANTIALIAS = 'generators and discriminators sample here as those of CycleGAN do, without antialiasing; leave it out'
_ONE_NORM = 'set --norm, which generators and discriminators share here'

# Those of pix2pix, CUT and what else comes with them, as long as no model has them.
_OF_MODELS = {
    # pix2pix, and the template for models of one's own
    'lambda_L1': _PIX2PIX,
    'lambda_regression': _PIX2PIX,
    'new_dataset_option': _PIX2PIX,
    # CUT, FastCUT, SinCUT
    'CUT_mode': _CUT,
    'lambda_GAN': _CUT,
    'lambda_NCE': _CUT,
    'lambda_R1': _CUT,
    'nce_idt': _CUT,
    'nce_layers': _CUT,
    'nce_includes_all_negatives_from_minibatch': _CUT,
    'nce_T': _CUT,
    'netF': _CUT,
    'netF_nc': _CUT,
    'num_patches': _CUT,
    'flip_equivariance': _CUT,
    'normG': _ONE_NORM,
    'normD': _ONE_NORM,
    'no_antialias': _ANTIALIAS,
    'no_antialias_up': _ANTIALIAS,
    'beta2': "leave it out: Adam's second momentum is 0.999 here",
    'stylegan2_G_num_downsampling': 'no netG here is a StyleGAN2; leave it out',
    'random_scale_max': 'no preprocess here enlarges at random; leave it out, or set --augment=affine',
    'easy_label': 'set --name instead',
    'evaluation_freq': 'set --eval_freq instead, in epochs',
    'pretrained_name': 'copy the directory of that run to the new name and give --continue_train, or start from files '
    'of PyTorch with tools/import_torch_weights.py',
    'model_suffix': 'both generators are in one run here, and cyclegan_tf.translate has --direction',
}

# ---------------------------------------------------------------------------------------------------- flags of programs
_TENSORBOARD = 'watch TensorBoard instead: tensorboard --logdir CHECKPOINTS_DIR'
REFUSED = {
    'gpu_ids': 'set the environment variable CUDA_VISIBLE_DEVICES instead',
    'use_wandb': _TENSORBOARD,
    'wandb_project_name': _TENSORBOARD,
    'display_id': _TENSORBOARD,
    'display_server': _TENSORBOARD,
    'display_port': _TENSORBOARD,
    'display_env': _TENSORBOARD,
    'display_ncols': _TENSORBOARD,
    'display_winsize': _TENSORBOARD,
    'update_html_freq': _TENSORBOARD,
    'no_html': _TENSORBOARD,
    'load_iter': 'choose a checkpoint with --epoch instead',
    'save_by_iter': 'set --save_latest_freq, --save_epoch_freq and --keep_checkpoints instead',
    **_OF_MODELS,
}
_TEST = 'cyclegan_tf.translate is for test images'
REFUSED_IN_TRAINING = {
    **REFUSED,
    'phase': 'training always reads trainA and trainB',
    'results_dir': _TEST,
    'num_test': _TEST,
    'aspect_ratio': _TEST,
    'eval': _TEST,
}
_ARCHITECTURE = 'the networks are those of the run that --name names'
_TRAINING = 'it is for cyclegan_tf.train'
_SIZE = 'nothing is cut, and sizes are those of the run unless a flag that --help lists sets others'
_ORDER = 'all images are taken, in order and as they are'
# For programs that use a run; a program's own flags of these names come first.
REFUSED_WITH_A_RUN = {
    **REFUSED,
    'suffix': "write the run's whole name into --name instead",
    'phase': 'it is for cyclegan_tf.translate and cyclegan_tf.evaluate',
    'results_dir': 'it is for cyclegan_tf.translate and cyclegan_tf.evaluate',
    'num_test': 'it is for cyclegan_tf.translate and cyclegan_tf.evaluate',
    'aspect_ratio': 'give cyclegan_tf.translate --resize=WIDTHxHEIGHT instead',
    'eval': 'batch norm always uses its running statistics, and dropout is always off',
    'model': _ARCHITECTURE,
    'input_nc': _ARCHITECTURE,
    'output_nc': _ARCHITECTURE,
    'ngf': _ARCHITECTURE,
    'ndf': _ARCHITECTURE,
    'netD': _ARCHITECTURE,
    'netG': _ARCHITECTURE,
    'n_layers_D': _ARCHITECTURE,
    'norm': _ARCHITECTURE,
    'init_type': _ARCHITECTURE,
    'init_gain': _ARCHITECTURE,
    'no_dropout': _ARCHITECTURE,
    'dataroot': 'an export reads no images',
    'dataset_mode': "the run's own is used",
    'direction': 'all directions that the run has are measured',
    'serial_batches': _ORDER,
    'num_threads': 'one thread reads',
    'batch_size': 'the model takes batches of any size',
    'load_size': 'the model takes images of any size',
    'crop_size': _SIZE,
    'max_dataset_size': 'it is for cyclegan_tf.train; translate and evaluate have --num_test',
    'preprocess': f"the run's own is used, but {_SIZE}",
    'no_flip': _ORDER,
    'n_epochs': _TRAINING,
    'n_epochs_decay': _TRAINING,
    'epoch_count': _TRAINING,
    'continue_train': _TRAINING,
    'beta1': _TRAINING,
    'lr': _TRAINING,
    'gan_mode': _TRAINING,
    'pool_size': _TRAINING,
    'lr_policy': _TRAINING,
    'lr_decay_iters': _TRAINING,
    'lambda_A': _TRAINING,
    'lambda_B': _TRAINING,
    'lambda_identity': _TRAINING,
    'print_freq': _TRAINING,
    'display_freq': _TRAINING,
    'save_latest_freq': _TRAINING,
    'save_epoch_freq': _TRAINING,
}

# ------------------------------------------------------------------------------------------------------ values of flags
_NOT_YET = 'this model is not there yet'
_NO_MODEL = 'this model is not there'
_STYLEGAN2 = 'networks of StyleGAN2 are not there'
_PATCH_D = 'discriminators of patches that are cut out are not there'
_SHORT_SIDE = 'resizing by the shorter side is not there'
_CUT_PREPROCESS = 'this preparation of CUT is not there'
# flag -> value -> why it is none here; the choices that there are follow.
ABSENT_VALUES = {
    'model': {
        'pix2pix': _NOT_YET,
        'cut': _NOT_YET,
        'fastcut': _NOT_YET,
        'sincut': _NO_MODEL,
        'template': _NO_MODEL,
        'colorization': f'{_NO_MODEL}, but cycle_gan learns to colour with --input_nc=1 --lambda_identity=0',
        'test': 'it is python -m cyclegan_tf.translate --dataset_mode=single here, which needs no --model',
    },
    'netG': {
        'stylegan2': _STYLEGAN2,
        'smallstylegan2': _STYLEGAN2,
        'resnet_4blocks': 'a ResNet of 4 blocks is not there',
        'resnet_cat': 'ResNets that also take noise are not there',
    },
    'netD': {
        'stylegan2': _STYLEGAN2,
        'tilestylegan2': _STYLEGAN2,
        'patchstylegan2': _STYLEGAN2,
        'patch': _PATCH_D,
        'tilepatch': _PATCH_D,
        'tile': _PATCH_D,
    },
    'norm': {'syncbatch': 'batch norm is of the whole batch on all devices here, so set batch'},
    'dataset_mode': {
        'colorization': 'images are not made gray here, so put gray ones into trainA',
        'singleimage': 'training on a single image is not there',
        'template': 'data sets of your own are folders, or tools/prepare_records.py prepares them',
    },
    'preprocess': {
        'scale_shortside': _SHORT_SIDE,
        'scale_shortside_and_crop': _SHORT_SIDE,
        'zoom': _CUT_PREPROCESS,
        'zoom_and_crop': _CUT_PREPROCESS,
        'scale_width_and_patch': _CUT_PREPROCESS,
        'patch': _CUT_PREPROCESS,
        'trim': _CUT_PREPROCESS,
        'fixsize': _CUT_PREPROCESS,
    },
    'gan_mode': {
        'nonsaturating': 'it is what vanilla is here',
        'hinge': 'the hinge loss is not there',
    },
}
