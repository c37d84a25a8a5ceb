"""Counts on paper what a GPU has to do for a function that XLA compiles: operations, bytes, kernels and least seconds.

XLA's own cost analysis cannot be called from TensorFlow's Python (2.15 and 2.21 have no binding for it). So its input
is read instead: the program in HLO before any optimisation, which TensorFlow translates in seconds for images of any
size, and on machines without a GPU. XLA compiles that in ways that are imitated here:

- What is computed twice, or for nothing, is dropped; reshapes, copies of variables and full slices cost nothing.
- Batch norms are expanded into sums and a formula.
- What works value by value is fused into what reads it: into a formula, or a sum. If several read it, it is computed
  again in each of them where that takes no more bytes than writing it once. Convolutions, matrix products, sorting and
  scattering are kernels of their own, from memory to memory. Updates of a variable and its moments are one kernel.
- Zero padding and the rotation of a kernel in front of a convolution, and a transposition in front of a product, belong
  to cuDNN's and cuBLAS's kernels.

Not imitated: further fusion of independent kernels, which would lower their number; copies between layouts, which would
raise it; and the cache (50 MB in an H100), in which a value may still be when it is read. So bytes and kernels are
estimates; operations of convolutions and matrix products are exact, as XLA counts them: without products with padding.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

import numpy as np

# An H100 SXM, by NVIDIA's "H100 Tensor Core GPU" data sheet: FP32 67 teraFLOPS; TF32 989 and BFLOAT16 1,979 teraFLOPS
# "with sparsity", and half of that without; memory bandwidth 3.35 TB/s.
VECTOR_PEAK = 67e12  # operations per second outside the tensor cores, float32
BANDWIDTH = 3.35e12  # bytes per second
PEAKS = {
    'float32': {'f32': VECTOR_PEAK},
    'TF32': {'f32': 495e12},
    'bfloat16': {'f32': 495e12, 'bf16': 989e12},
}
"""Number format -> type of the operands of convolutions and matrix products -> operations per second for them."""
LAUNCH_SECONDS = 3e-6  # assumed for each kernel, which cannot follow its predecessor faster; not from a data sheet

_BYTES = {'pred': 1, 's8': 1, 'u8': 1, 's16': 2, 'u16': 2, 'f16': 2, 'bf16': 2, 's32': 4, 'u32': 4, 'f32': 4, 's64': 8,
          'u64': 8, 'f64': 8}  # fmt: skip
_PRODUCTS = ('convolution', 'dot')
_OWN_KERNEL = (*_PRODUCTS, 'sort', 'scatter', 'custom-call')
_VIEWS = ('bitcast', 'reshape', 'copy')
_MOVES = ('bitcast-convert', 'broadcast', 'concatenate', 'dynamic-slice', 'dynamic-update-slice', 'gather', 'pad',
          'reverse', 'select', 'slice', 'transpose')  # fmt: skip
_REGIONS = ('call', 'conditional', 'while', 'map', 'fusion', 'async-start')


@dataclasses.dataclass(frozen=True)
class Array:
    """A value: its type, as in HLO ('f32'), and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


@dataclasses.dataclass
class Instruction:
    """An instruction of HLO.

    Attributes:
        name, opcode: as in the text.
        results: one array, or those of a tuple.
        operands: for each the name of an instruction and the index of one of its results.
        attributes: the text behind the operands, without metadata; of a constant its value.
        seen: the operands' shapes, which stay when an operand is replaced by what it was reshaped or padded from.
    """

    name: str
    opcode: str
    results: list[Array]
    operands: list[tuple[str, int]]
    attributes: str = ''
    seen: tuple[tuple[int, ...], ...] = ()


@dataclasses.dataclass
class Kernel:
    """What a GPU starts at once.

    Attributes:
        name, opcode: those of the instruction that it ends with.
        products: operations of convolutions and matrix products.
        dtype: type of their operands.
        others: operations besides.
        bytes: bytes read and written.
    """

    name: str
    opcode: str
    products: float
    dtype: str
    others: float
    bytes: float

    def seconds(self, peaks: Mapping[str, float]) -> tuple[float, float]:
        """The least time for its operations, and for its bytes."""
        return self.products / peaks.get(self.dtype, VECTOR_PEAK) + self.others / VECTOR_PEAK, self.bytes / BANDWIDTH


def summarise(kernels: Sequence[Kernel], peaks: Mapping[str, float]) -> dict[str, float]:
    """Sums over all kernels, and the least seconds: each kernel takes the longer of its operations and its bytes.

    'launch_seconds' are those that the kernels' launches alone take, one after another; 'floor_seconds' the least ones
    if no kernel takes less than a launch.

    Args:
        kernels: those of a step.
        peaks: one of PEAKS.
    """
    times = [kernel.seconds(peaks) for kernel in kernels]
    return {
        'gflop_products': sum(kernel.products for kernel in kernels) / 1e9,
        'gflop_others': sum(kernel.others for kernel in kernels) / 1e9,
        'gigabytes': sum(kernel.bytes for kernel in kernels) / 1e9,
        'kernels': len(kernels),
        'convolutions': sum(kernel.opcode == 'convolution' for kernel in kernels),
        'roofline_seconds': sum(max(pair) for pair in times),
        'seconds_bound_by_operations': sum(operations for operations, memory in times if operations > memory),
        'seconds_bound_by_memory': sum(memory for operations, memory in times if operations <= memory),
        'launch_seconds': len(kernels) * LAUNCH_SECONDS,
        'floor_seconds': sum(max(*pair, LAUNCH_SECONDS) for pair in times),
    }


def count(text: str) -> tuple[list[Kernel], list[Kernel]]:
    """The kernels of a program in HLO: fused as XLA fuses for GPUs, about; and one for each instruction that computes.

    Raises:
        ValueError: the program has loops, branches or functions, which are not counted.
    """
    program = simplify(parse(text))
    return _fused(program), [_alone(one, program) for one in program.values() if _computes(one)]


# ------------------------------------------------------------------------------------------------------------ reading
_LINE = re.compile(r'^\s*(ROOT )?%?([\w.\-]+) = (.+?) ([a-z][a-z0-9\-]*)\((.*)$')
_ARRAY = re.compile(r'\b([a-z]+[0-9]*)\[([0-9,<=]*)\]')


def parse(text: str) -> dict[str, Instruction]:
    """The instructions of the entry computation by name, in order; the last is a tuple named 'ROOT': the results."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith('ENTRY '):
            break
    found: dict[str, Instruction] = {}
    root = None
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        is_root, name, types, opcode, rest = match.groups()
        inside, attributes = _split(rest)
        operands = [] if opcode in ('constant', 'parameter') else re.findall(r'%([\w.\-]+)', inside)
        attributes = inside if opcode == 'constant' else re.sub(r',? metadata=\{.*$', '', attributes)
        if opcode in _REGIONS:
            raise ValueError(f'instruction {name} is a {opcode}, which is not counted')
        arrays = [Array(kind, _dimensions(shape)) for kind, shape in _ARRAY.findall(types) if kind in _BYTES]
        seen = tuple(found[operand].results[0].shape if found[operand].results else () for operand in operands)
        found[name] = Instruction(name, opcode, arrays, [(operand, 0) for operand in operands], attributes, seen)
        root = name if is_root else root
    last = found.pop(root)
    operands = last.operands if last.opcode == 'tuple' else [(root, 0)]
    if last.opcode != 'tuple':
        found[root] = last
    found['ROOT'] = Instruction('ROOT', 'tuple', [], operands)
    return found


def _split(rest: str) -> tuple[str, str]:
    """What is inside the parenthesis that is open, and what follows it."""
    depth = 1
    for end, character in enumerate(rest):
        depth += {'(': 1, ')': -1}.get(character, 0)
        if depth == 0:
            return rest[:end], rest[end + 1 :]
    raise ValueError(f'no parenthesis ends: {rest[:80]}')


def _dimensions(text: str) -> tuple[int, ...]:
    return tuple(int(side.removeprefix('<=')) for side in text.split(',') if side)


# --------------------------------------------------------------------------------------------------------- simplifying
Program = dict[str, Instruction]


def simplify(program: Program) -> Program:
    """The program without what costs nothing or is not needed, and with batch norms expanded."""
    replaced: dict[tuple[str, int], tuple[str, int]] = {}
    tuples: dict[str, list[tuple[str, int]]] = {}
    barriers: set[str] = set()
    seen: dict[Any, str] = {}
    kept: Program = {}

    def array(value):
        return kept[value[0]].results[value[1]]

    for one in program.values():
        operands = [replaced.get(value, value) for value in one.operands]
        if one.opcode == 'get-tuple-element':
            index = int(re.search(r'index=(\d+)', one.attributes).group(1))
            source = one.operands[0][0]
            replaced[one.name, 0] = tuples[source][index] if source in tuples else (operands[0][0], index)
            continue
        if one.opcode == 'tuple' and one.name != 'ROOT':
            tuples[one.name] = operands
            continue
        if one.opcode == 'opt-barrier':  # what is behind it is not known to be the same as what is in front of it
            parts = tuples[one.operands[0][0]] if one.operands[0][0] in tuples else operands
            tuples[one.name] = []
            for index, part in enumerate(parts):
                name = f'{one.name}/{index}'
                kept[name] = Instruction(name, 'opt-barrier', [array(part)], [part])
                barriers.add(name)
                tuples[one.name].append((name, 0))
            if len(parts) == 1:
                replaced[one.name, 0] = tuples[one.name][0]
            continue
        one = dataclasses.replace(one, operands=operands)
        if one.name != 'ROOT':
            one, same = _simpler(one, kept, array)
            if same is not None:
                replaced[one.name, 0] = same
                continue
            key = (one.opcode, tuple(one.operands), one.attributes, tuple(one.results))
            if one.opcode != 'parameter' and key in seen:
                for index in range(len(one.results)):
                    replaced[one.name, index] = (seen[key], index)
                # A tuple's elements are asked for by the name of the tuple.
                tuples[one.name] = [(seen[key], index) for index in range(len(one.results))]
                continue
            seen[key] = one.name
        if one.opcode.startswith('batch-norm-'):
            tuples[one.name] = _expand_norm(one, kept)
            continue
        kept[one.name] = one
    behind = {(name, 0): _behind(name, kept, barriers) for name in barriers}
    for one in kept.values():
        one.operands = [behind.get(value, value) for value in one.operands]
    return _absorb({name: one for name, one in _needed(kept).items() if name not in barriers})


def _simpler(one: Instruction, kept: Program, array: Callable) -> tuple[Instruction, Optional[tuple[str, int]]]:
    """The instruction in a simpler form, and the value that it is the same as, if there is one."""
    if not one.operands or one.opcode in _OWN_KERNEL:
        return one, None
    result, first = one.results[0], array(one.operands[0])
    same_type = result.dtype == first.dtype and result.size == first.size
    if one.opcode in _VIEWS and same_type:
        return one, one.operands[0]
    if one.opcode in ('slice', 'convert', 'broadcast', 'transpose', 'concatenate') and same_type:
        if one.opcode != 'transpose' or _keeps_order(one.attributes, one.seen[0]):
            return one, one.operands[0]
    if one.opcode == 'reverse' and result.size == 1:
        return one, one.operands[0]
    if one.opcode == 'pad' and first.size == 0:
        one = dataclasses.replace(one, opcode='broadcast', operands=one.operands[1:])
    if one.opcode == 'concatenate':
        one = dataclasses.replace(one, operands=[value for value in one.operands if array(value).size])
    if one.opcode == 'add':
        for value, other in (one.operands, one.operands[::-1]):
            if _is_zero(kept[value[0]]) and array(other) == result:
                return one, other
    constant = ('constant', 'iota')
    if all(kept[name].opcode in constant for name, _ in one.operands) and one.opcode != 'rng-bit-generator':
        # XLA computes it once and for all, or in the kernel that needs it.
        zero = one.opcode in ('broadcast', 'convert', 'pad', 'slice', 'reverse') and all(
            _is_zero(kept[name]) for name, _ in one.operands
        )
        return Instruction(one.name, 'constant', one.results, [], '0' if zero else f'of {one.name}'), None
    return one, None


def _is_zero(one: Instruction) -> bool:
    return one.opcode == 'constant' and one.attributes.strip() in ('0', '-0')


def _keeps_order(attributes: str, shape: Sequence[int]) -> bool:
    axes = [int(axis) for axis in re.search(r'dimensions=\{([\d,]*)\}', attributes).group(1).split(',') if axis]
    large = [axis for axis in axes if shape[axis] > 1]
    return large == sorted(large)


def _expand_norm(one: Instruction, kept: Program) -> list[tuple[str, int]]:
    """Adds the sums over each channel, and the formula; returns the results of the batch norm."""
    sums, formula = f'{one.name}/sums', f'{one.name}/formula'
    if one.opcode == 'batch-norm-grad':
        x, scale, mean, variance, gradient = one.operands
        kept[sums] = Instruction(sums, 'reduce', one.results[1:], [x, mean, gradient])
        inputs = [x, gradient, scale, mean, variance, (sums, 0), (sums, 1)]
        kept[formula] = Instruction(formula, 'norm-formula', one.results[:1], inputs)
    else:
        x, *scale_and_offset = one.operands
        inputs = [x, *scale_and_offset]
        if one.opcode == 'batch-norm-training':
            kept[sums] = Instruction(sums, 'reduce', one.results[1:], [x])
            inputs += [(sums, 0), (sums, 1)]
        kept[formula] = Instruction(formula, 'norm-formula', one.results[:1], inputs)
        if one.opcode == 'batch-norm-inference':
            return [(formula, 0)]
    return [(formula, 0), (sums, 0), (sums, 1)]


def _behind(name: str, kept: Program, barriers: set[str]) -> tuple[str, int]:
    value = (name, 0)
    while value[0] in barriers:
        (value,) = kept[value[0]].operands
    return value


def _needed(program: Program) -> Program:
    """The instructions on which the results depend, in order."""
    needed = {'ROOT'}
    for one in reversed(program.values()):
        if one.name in needed:
            needed.update(name for name, _ in one.operands)
    return {name: one for name, one in program.items() if name in needed}


def _absorb(program: Program) -> Program:
    """The program without padding, rotations and transpositions that belong to the library's kernels behind them."""
    readers = _readers(program)
    same = {}
    for one in program.values():
        if one.opcode not in ('pad', 'reverse', 'transpose') or not readers[one.name]:
            continue
        by = {(reader.opcode, reader.operands.index((one.name, 0))) for reader in readers[one.name]}
        if (
            (one.opcode == 'pad' and {opcode for opcode, _ in by} == {'convolution'} and _is_border(one, program))
            or (one.opcode == 'reverse' and by == {('convolution', 1)})
            or (one.opcode == 'transpose' and {opcode for opcode, _ in by} == {'dot'})
        ):
            same[one.name, 0] = one.operands[0]
    for one in program.values():
        if (one.name, 0) not in same:
            one.operands = [_last(value, same) for value in one.operands]
    return _needed({name: one for name, one in program.items() if (name, 0) not in same})


def _last(value, same):
    while value in same:
        value = same[value]
    return value


def _is_border(one: Instruction, program: Program) -> bool:
    """Whether this pads with equally many zeros on both sides."""
    pads = [pair.split('_') for pair in re.search(r'padding=([\d_x\-]+)', one.attributes).group(1).split('x')]
    borders = all(len(pad) == 2 and pad[0] == pad[1] and int(pad[0]) >= 0 for pad in pads)
    return borders and _is_zero(program[one.operands[1][0]])


def _readers(program: Program) -> dict[str, list[Instruction]]:
    readers: dict[str, list[Instruction]] = {name: [] for name in program}
    for one in program.values():
        for name in dict.fromkeys(name for name, _ in one.operands):
            readers[name].append(one)
    return readers


# ---------------------------------------------------------------------------------------------------------- operations
def products(one: Instruction) -> float:
    """Multiplications and additions of a convolution or a matrix product; those with its own padding do not count."""
    result, (left, right) = one.results[0], one.seen
    if one.opcode == 'dot':
        axes = re.search(r'lhs_contracting_dims=\{([\d,]*)\}', one.attributes).group(1)
        return 2.0 * result.size * math.prod(left[int(axis)] for axis in axes.split(',') if axis)
    window = dict(re.findall(r'(\w+)=([\w\-]+)', re.search(r'window=\{([^}]*)\}', one.attributes).group(1)))
    of_left, of_right, of_result = re.search(r'dim_labels=(\w+)_(\w+)->(\w+)', one.attributes).groups()
    spatial = range(len(of_result) - 2)

    def each(name, default):
        return window[name].split('x') if name in window else [default for _ in spatial]

    pairs = 1
    pads, strides = each('pad', '0_0'), each('stride', '1')
    spread_left, spread_right = each('lhs_dilate', '1'), each('rhs_dilate', '1')
    for axis in spatial:
        pairs *= _pairs(
            left[of_left.index(str(axis))],
            right[of_right.index(str(axis))],
            result.shape[of_result.index(str(axis))],
            int(pads[axis].split('_')[0]),
            int(strides[axis]),
            int(spread_left[axis]),
            int(spread_right[axis]),
        )
    images, filters = result.shape[of_result.index('b')], result.shape[of_result.index('f')]
    return 2.0 * pairs * images * filters * right[of_right.index('i')]


@functools.cache
def _pairs(side: int, taps: int, results: int, pad: int, stride: int, spread: int, spread_taps: int) -> int:
    """How many pairs of a pixel and a kernel's tap meet along an axis."""
    place = np.arange(results)[:, None] * stride + np.arange(taps)[None, :] * spread_taps - pad
    return int(((place >= 0) & (place <= (side - 1) * spread) & (place % spread == 0)).sum())


def _other_operations(one: Instruction, program: Program) -> float:
    """Operations that are not products: one for each value that is computed, or summed."""
    if one.opcode in _MOVES or one.opcode in _PRODUCTS:
        return 0
    if one.opcode == 'reduce':
        name, index = one.operands[0]
        # Of a norm: a square and two sums; of its gradient: a difference, a product and two sums.
        each = {2: 1, 1: 3, 3: 4}[len(one.operands)] if '/sums' in one.name else 1
        return each * program[name].results[index].size
    if one.opcode == 'norm-formula':
        return (6 if len(one.operands) == 7 else 2) * one.results[0].size
    return sum(result.size for result in one.results)


# -------------------------------------------------------------------------------------------------------------- kernels
def _computes(one: Instruction) -> bool:
    return one.opcode not in ('constant', 'iota', 'parameter', 'tuple')


def _array(value: tuple[str, int], program: Program) -> Array:
    return program[value[0]].results[value[1]]


def _bytes(arrays: Sequence[Array]) -> float:
    return float(sum(array.size * _BYTES[array.dtype] for array in arrays))


def _wanted(one: Instruction, position: int, operand: Array) -> float:
    """How many elements of an operand an instruction reads."""
    if one.opcode in ('slice', 'dynamic-slice', 'gather') and position == 0:
        return min(operand.size, one.results[0].size)
    return operand.size


@dataclasses.dataclass
class _Reading:
    """What an instruction needs, with all that is fused into it: elements of values in memory, and operations."""

    elements: dict[tuple[str, int], float] = dataclasses.field(default_factory=collections.Counter)
    others: float = 0.0

    def bytes(self, program: Program) -> float:
        return sum(size * _BYTES[_array(value, program).dtype] for value, size in self.elements.items())


def _reading(one: Instruction, program: Program, inlined: Mapping[str, _Reading]) -> _Reading:
    found = _Reading(others=_other_operations(one, program))
    for position, value in enumerate(one.operands):
        source = program[value[0]]
        if source.opcode in ('constant', 'iota') and one.opcode not in _PRODUCTS:
            continue
        array = _array(value, program)
        wanted = _wanted(one, position, array)
        if value[0] in inlined:
            share, inner = wanted / max(array.size, 1), inlined[value[0]]
            found.others += share * inner.others
            parts = {other: share * size for other, size in inner.elements.items()}
        else:
            parts = {value: wanted}
        for other, size in parts.items():
            found.elements[other] = min(found.elements[other] + size, _array(other, program).size)
    return found


def _kernel(one: Instruction, reading: _Reading, program: Program) -> Kernel:
    flops, dtype = 0.0, ''
    if one.opcode in _PRODUCTS:
        flops, dtype = products(one), _array(one.operands[0], program).dtype
    total = reading.bytes(program) + _bytes(one.results)
    return Kernel(one.name, one.opcode, flops, dtype, reading.others, total)


def _alone(one: Instruction, program: Program) -> Kernel:
    return _kernel(one, _reading(one, program, {}), program)


def _fused(program: Program) -> list[Kernel]:
    """The kernels after fusion; see this file's first lines."""
    readers = _readers(program)
    inlined: dict[str, _Reading] = {}
    kernels: dict[str, _Reading] = {}
    for one in program.values():
        if not _computes(one):
            continue
        reading, behind = _reading(one, program, inlined), readers[one.name]
        takes = all(reader.opcode not in (*_OWN_KERNEL, 'tuple') for reader in behind)
        if one.opcode not in (*_OWN_KERNEL, 'reduce') and takes and _pays(one, reading, len(behind), program):
            inlined[one.name] = reading
        else:
            kernels[one.name] = reading
    return _with_updates_joined(kernels, program, readers)


def _pays(one: Instruction, reading: _Reading, count: int, program: Program) -> bool:
    """Whether computing it in each of its readers takes no more bytes than writing it once and reading it in each."""
    if count == 1:
        return True
    if one.opcode == 'rng-bit-generator':
        return False
    moved, size = reading.bytes(program), _bytes(one.results)
    return count * moved <= moved + size + count * size


def _with_updates_joined(
    kernels: Mapping[str, _Reading], program: Program, readers: Mapping[str, list[Instruction]]
) -> list[Kernel]:
    """The kernels; results of the step that only results of the same size read are one kernel with these."""
    by: dict[str, set[str]] = {name: set() for name in kernels}
    for name, reading in kernels.items():
        for source, _ in reading.elements:
            if source in by:
                by[source].add(name)
    results = {name for name, _ in program['ROOT'].operands}
    joins = [
        name
        for name in kernels
        if name in results and program[name].opcode not in (*_OWN_KERNEL, 'reduce') and len(program[name].results) == 1
    ]
    group = {name: name for name in joins}
    for name in joins:
        size = program[name].results[0].size
        if by[name] and all(other in group and program[other].results[0].size == size for other in by[name]):
            target = _last_group(sorted(by[name])[0], group)
            for member in (name, *by[name]):
                group[_last_group(member, group)] = target
    members = collections.defaultdict(list)
    for name in kernels:
        members[_last_group(name, group) if name in group else name].append(name)
    found = []
    for names in members.values():
        inside = set(names)
        whole = _Reading()
        for name in names:
            whole.others += kernels[name].others
            for value, size in kernels[name].elements.items():
                if value[0] not in inside:
                    whole.elements[value] = min(max(whole.elements[value], size), _array(value, program).size)
        kernel = _kernel(program[names[-1]], whole, program)
        kernel.bytes += sum(_bytes(program[name].results) for name in names[:-1])
        found.append(kernel)
    return found


def _last_group(name: str, group: Mapping[str, str]) -> str:
    while group[name] != name:
        name = group[name]
    return name
