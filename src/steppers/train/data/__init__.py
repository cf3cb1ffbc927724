"""Data sets: a function that loads each, and batches of them by `Data.loaders`."""

from .batched import BatchedDataset, TensorData, as_is
from .corpus import Corpus, find_corpus, read_stream, zlib_bits_per_byte
from .dataset import Data
from .dataset_dict import from_dd
from .digits import load_digits
from .files import get_files
from .idx import read_idx
from .imagefolder import load_folder
from .imagenette import load_imagenette
from .images import ImageFiles, open_image
from .labels import Vocabulary, parent_label
from .loaders import DataLoaders
from .mnist import load_fashion_mnist, load_mnist
from .normalise import Normalise
from .registry import DATA, load_data
from .splitters import func_splitter, grandparent_splitter, random_splitter
from .text import ByteText, load_text
from .transforms import Convert, RandomCrop, RandomFlip, Resize, ToByteTensor, ToFloatTensor

__all__ = [
    "DATA",
    "BatchedDataset",
    "ByteText",
    "Convert",
    "Corpus",
    "Data",
    "DataLoaders",
    "ImageFiles",
    "Normalise",
    "RandomCrop",
    "RandomFlip",
    "Resize",
    "TensorData",
    "ToByteTensor",
    "ToFloatTensor",
    "Vocabulary",
    "as_is",
    "find_corpus",
    "from_dd",
    "func_splitter",
    "get_files",
    "grandparent_splitter",
    "load_data",
    "load_digits",
    "load_fashion_mnist",
    "load_folder",
    "load_imagenette",
    "load_mnist",
    "load_text",
    "open_image",
    "parent_label",
    "random_splitter",
    "read_idx",
    "read_stream",
    "zlib_bits_per_byte",
]
