"""Flags and flag values of the PyTorch programs of CycleGAN, pix2pix and CUT that are refused, with what to do instead.

A flag or value that a program or a model does define takes precedence over its entry here.
"""

# ------------------------------------------------------------------------------------------------------ flags of models
# Flags of models that are not available, and of the programs that come with them.
_OF_MODELS = {
    'lambda_regression': 'it belongs to the template for new models; leave it out',
    'new_dataset_option': 'it belongs to the template for new data sets; leave it out',
    'lambda_R1': 'it is --lambda_r1 of cyclegan_tf.train here',
    'stylegan2_G_num_downsampling': 'no netG here is a StyleGAN2; leave it out',
    'random_scale_max': 'no --preprocess enlarges images at random here; leave it out, or set --augment=affine',
    'easy_label': 'set --name instead',
    'evaluation_freq': 'set --eval_freq instead, in epochs',
    'pretrained_name': 'set --init_from instead, to a run or to a folder with files of that program',
    'model_suffix': 'a run holds all of its generators here; choose with --direction of cyclegan_tf.translate',
}

# ---------------------------------------------------------------------------------------------------- flags of programs
_TENSORBOARD = 'watch TensorBoard instead: tensorboard --logdir CHECKPOINTS_DIR'
REFUSED = {
    'gpu_ids': 'set the environment variable CUDA_VISIBLE_DEVICES instead',
    'display_id': _TENSORBOARD,
    'display_server': _TENSORBOARD,
    'display_port': _TENSORBOARD,
    'display_env': _TENSORBOARD,
    'display_ncols': _TENSORBOARD,
    'display_winsize': _TENSORBOARD,
    'update_html_freq': 'the page of a training is written after every epoch; leave it out',
    'load_iter': 'choose a checkpoint with --epoch instead',
    'save_by_iter': 'set --save_latest_freq, --save_epoch_freq and --keep_checkpoints instead',
    **_OF_MODELS,
}
_TEST = 'test images are for cyclegan_tf.translate'
REFUSED_IN_TRAINING = {
    **REFUSED,
    'phase': 'training always reads the images for training, such as trainA and trainB',
    'results_dir': _TEST,
    'num_test': _TEST,
    'aspect_ratio': _TEST,
    'eval': _TEST,
}
_ARCHITECTURE = 'the networks are those of the run that --name names'
_TRAINING = 'it is for cyclegan_tf.train'
_READING = 'images are read as in the training of the run that --name names'
_SIZE = 'images are not cropped, and have the sizes of the run unless a flag in --help sets others'
_ORDER = 'all images are used, in order and unchanged'
# For programs that use a trained run. A program's own flags of these names take precedence.
REFUSED_WITH_A_RUN = {
    **REFUSED,
    'suffix': 'give the full name of the run as --name instead',
    'phase': 'it is for cyclegan_tf.translate and cyclegan_tf.evaluate',
    'results_dir': 'it is for cyclegan_tf.translate and cyclegan_tf.evaluate',
    'num_test': 'it is for cyclegan_tf.translate and cyclegan_tf.evaluate',
    'aspect_ratio': 'give cyclegan_tf.translate --resize=WIDTHxHEIGHT instead',
    'eval': 'exports always use running statistics and no dropout; it is for cyclegan_tf.translate and '
    'cyclegan_tf.evaluate',
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
    'netF': _ARCHITECTURE,
    'netF_nc': _ARCHITECTURE,
    'nce_layers': _ARCHITECTURE,
    'no_antialias': _ARCHITECTURE,
    'no_antialias_up': _ARCHITECTURE,
    'normG': _ARCHITECTURE,
    'normD': _ARCHITECTURE,
    'value_range': _READING,
    'value_range_B': _READING,
    'tiff_pages': _READING,
    'input_folders': _READING,
    'input_feature': _READING,
    'output_feature': _READING,
    'dataroot': 'an export reads no images',
    'dataset_mode': "the run's own mode is used",
    'direction': 'all directions of the run are measured',
    'serial_batches': _ORDER,
    'num_threads': 'a single thread reads the images',
    'batch_size': 'the model takes batches of any size',
    'load_size': 'the model takes images of any size',
    'crop_size': _SIZE,
    'max_dataset_size': 'it is for cyclegan_tf.train; translate and evaluate have --num_test',
    'preprocess': f"the run's own value is used, except that {_SIZE}",
    'no_flip': _ORDER,
    'n_epochs': _TRAINING,
    'n_epochs_decay': _TRAINING,
    'epoch_count': _TRAINING,
    'continue_train': _TRAINING,
    'beta1': _TRAINING,
    'beta2': _TRAINING,
    'lr': _TRAINING,
    'gan_mode': _TRAINING,
    'pool_size': _TRAINING,
    'lr_policy': _TRAINING,
    'lr_decay_iters': _TRAINING,
    'lambda_A': _TRAINING,
    'lambda_B': _TRAINING,
    'lambda_identity': _TRAINING,
    'lambda_L1': _TRAINING,
    'CUT_mode': _TRAINING,
    'lambda_GAN': _TRAINING,
    'lambda_NCE': _TRAINING,
    'nce_idt': _TRAINING,
    'nce_includes_all_negatives_from_minibatch': _TRAINING,
    'nce_T': _TRAINING,
    'num_patches': _TRAINING,
    'flip_equivariance': _TRAINING,
    'print_freq': _TRAINING,
    'display_freq': _TRAINING,
    'save_latest_freq': _TRAINING,
    'save_epoch_freq': _TRAINING,
    'no_html': _TRAINING,
    'use_wandb': _TRAINING,
    'wandb_project_name': _TRAINING,
}

# ------------------------------------------------------------------------------------------------------ values of flags
_NO_MODEL = 'this model is not available'
_STYLEGAN2 = 'StyleGAN2 networks are not available'
_PATCH_D = 'discriminators of cropped patches are not available'
_SHORT_SIDE = 'resizing by the shorter side is not available'
_CUT_PREPROCESS = "this preprocessing of CUT's is not available"
# Flag -> value -> why it does not exist here. The error message goes on with the choices that do.
ABSENT_VALUES = {
    'model': {
        'fastcut': 'it is --model=cut --CUT_mode=FastCUT here',
        'sincut': _NO_MODEL,
        'template': _NO_MODEL,
        'colorization': f'{_NO_MODEL}, but cycle_gan learns to colour with --input_nc=1 --lambda_identity=0',
        'test': 'it is python -m cyclegan_tf.translate --dataset_mode=single here, which needs no --model',
    },
    'netG': {
        'stylegan2': _STYLEGAN2,
        'smallstylegan2': _STYLEGAN2,
        'resnet_4blocks': 'a ResNet of 4 blocks is not available',
        'resnet_cat': 'ResNets that also take noise are not available',
    },
    'netD': {
        'stylegan2': _STYLEGAN2,
        'tilestylegan2': _STYLEGAN2,
        'patchstylegan2': _STYLEGAN2,
        'patch': _PATCH_D,
        'tilepatch': _PATCH_D,
        'tile': _PATCH_D,
    },
    'netF': {'reshape': "it fails in CUT's own program, too, and is not available"},
    'norm': {'syncbatch': 'batch norm always covers the whole batch on all devices here, so set batch'},
    'dataset_mode': {
        'colorization': 'set --input_nc=1, which converts the images of trainA to gray',
        'singleimage': 'training on a single image is not available',
        'template': 'use folders of images, or prepare records with tools/prepare_records.py',
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
        'nonsaturating': 'it is called vanilla here',
    },
}
