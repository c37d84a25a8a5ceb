"""Packaging. Two stacks, chosen by the Python version: see "Two stacks of packages" in docs/architecture.md."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(r"__version__ = '(.+)'", (ROOT / 'cyclegan_tf' / '__init__.py').read_text()).group(1)

OLD = "; python_version < '3.12'"  # tensorflow-addons' last release supports no TensorFlow after 2.15
NEW = "; python_version >= '3.12'"

DEMO = ['scikit-image>=0.22,<1', 'scikit-learn>=1.3,<2']
BENCHMARK = ['matplotlib>=3.8,<4']
DOWNLOAD = ['pooch>=1.8,<2']
# The messages of TensorFlow Serving's requests; each release wants its own TensorFlow.
SERVING = ['tensorflow-serving-api==2.15.1' + OLD, 'tensorflow-serving-api==2.21.*' + NEW]
VIDEO = ['av>=18,<20']
APP = ['gradio>=6,<7', *VIDEO]
WANDB = ['wandb>=0.28,<1']  # beside TensorFlow 2.15 pip takes 0.28, since later ones want a newer protobuf
# Releases of onnx after 1.17 want a protobuf that TensorFlow 2.15 cannot load.
ONNX = ['tf2onnx==1.17.0', 'onnx==1.17.0' + OLD, 'onnx>=1.17,<2' + NEW]
RUNTIMES = ['onnxruntime>=1.17', 'openvino>=2024']
SPARK = ['pyspark>=4,<5', 'fsspec>=2023.9']

setuptools.setup(
    name='cyclegan_tf',
    version=VERSION,
    description='CycleGAN, unpaired image-to-image translation, in TensorFlow and Keras',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='MIT',
    packages=setuptools.find_packages(include=['cyclegan_tf', 'cyclegan_tf.*']),
    package_data={
        'cyclegan_tf.distribution': ['log4j2.properties'],
        'cyclegan_tf.translation': ['gallery.html', 'gallery.css', 'gallery.js', 'charts.html', 'charts.css'],
        'cyclegan_tf.web': ['page.css'],
    },
    python_requires='>=3.10,<3.14',
    install_requires=[
        'tensorflow==2.15.1' + OLD,
        'tensorflow-addons==0.23.0' + OLD,
        'tensorflow-metadata<1.16' + OLD,  # later ones want a protobuf that TensorFlow 2.15 cannot load
        'setuptools<82' + OLD,  # TensorBoard 2.15 imports pkg_resources
        'tensorflow==2.21.*' + NEW,
        'tf-keras==2.21.*' + NEW,
        'tensorboard>=2.15,<3',
        'tensorflow-datasets>=4.9.10,<5',
        'importlib_resources>=5',  # tensorflow-datasets' writers import it without asking for it
        'keras-cv==0.9.0',
        'absl-py>=1.4,<3',
        'protobuf',  # of a version that TensorFlow asks for
        'numpy>=1.23,<3',
        'pillow>=11.3',
        'tifffile>=2023.7',
        'imagecodecs>=2023.7,<2026.2' + OLD,  # later ones want NumPy 2, which TensorFlow 2.15 does not take
        'imagecodecs>=2024.9' + NEW,
        'netpbmfile>=2023.8',
        'filelock>=4.1,<5',
        'jinja2>=3.1,<4',
        'psutil>=5.9',
        'tqdm>=4.60,<5',
        'urllib3>=2,<3',
    ],
    extras_require={
        'gpu': ['tensorflow[and-cuda]==2.15.1' + OLD, 'tensorflow[and-cuda]==2.21.*' + NEW],
        'demo': DEMO,
        'benchmark': BENCHMARK,
        'serving': SERVING,
        'onnx': ONNX,
        'app': APP,
        'video': VIDEO,
        'wandb': WANDB,
        'torch': ['torch==2.13.0'],
        'download': DOWNLOAD,
        # Beside 'onnx', what the benchmark of translation runs exported models in.
        'runtimes': RUNTIMES,
        'spark': SPARK,
        'test': [
            *DEMO,
            *BENCHMARK,
            *DOWNLOAD,
            *SERVING,
            *ONNX,
            *RUNTIMES,
            'pytest>=8',
            'pytest-instafail>=0.5',
            'pytest-xdist>=3.5',
            'pyyaml>=6',
            'ruff>=0.6',
        ],
        # Programs that measure, with which figures are compared; they need PyTorch.
        'test-torch': ['clean-fid>=0.1.35', 'pytorch-fid>=0.3', 'scipy<1.18', 'torch-fidelity>=0.4'],
        # What bash tools/test.sh --spark needs besides: an object store on this machine, and a client of it.
        'test-spark': [*SPARK, 'moto[server]>=5', 's3fs'],
        # What bash tools/test.sh --extras needs besides; selenium drives Chromium.
        'test-extras': [
            *APP,
            *WANDB,
            'dockerfile-parse>=2',
            'ipykernel>=6',
            'nbclient>=0.10',
            'nbformat>=5',
            'selenium>=4.20,<5',
        ],
    },
)
