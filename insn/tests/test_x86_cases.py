"""What the corpora say about length, flow, targets, verdicts and text of x86 instructions."""

import pytest
from insn_corpus import cases

import insn

ADDRESS = 0x1000


def refused(verdict):
    """Write the refusals of a verdict as the corpus does."""
    codes = {method.value: reason.code for method, reason in verdict.refusals.items()}
    if len(codes) == len(insn.Method) and len(set(codes.values())) == 1:
        return f"all:{next(iter(codes.values()))}"
    by_code = {}
    for method, code in codes.items():
        by_code.setdefault(code, []).append(method)
    return " ".join(f"{','.join(methods)}:{code}" for code, methods in by_code.items()) or "-"


def flow(instruction):
    """Write where an instruction goes and what it addresses as the corpus does."""
    text = instruction.flow.value
    if instruction.target is not None:
        return f"{text} {instruction.target:#x}"
    if instruction.pc_relative is not None:
        return f"{text} [{instruction.pc_relative.target:#x}]"
    return text


@pytest.mark.parametrize(
    ("arch", "case"),
    [
        pytest.param(name, *parameter.values, id=parameter.id)
        for name in ("x86_64", "x86_32", "x86_16")
        for parameter in cases(f"{name}.txt")
    ],
)
def test_an_instruction_is_what_the_corpus_says(arch, case):
    hexadecimal, length, expected_flow, expected_refusals, text = case
    code = bytes.fromhex(hexadecimal)
    if length == "-":
        with pytest.raises(insn.InsnError) as caught:
            insn.decode(code, ADDRESS, insn.arch(arch))
        assert caught.value.code == expected_flow
        return
    instruction = insn.decode(code, ADDRESS, insn.arch(arch))
    got = (
        str(instruction.length),
        flow(instruction),
        refused(insn.judge(instruction)),
        instruction.text,
    )
    assert got == (length, expected_flow, expected_refusals, text)


@pytest.mark.parametrize("arch", ["x86_64", "x86_32", "x86_16"])
def test_every_refusal_names_a_known_reason_with_a_sentence_and_what_to_do_instead(arch):
    for parameter in cases(f"{arch}.txt"):
        hexadecimal, length, *_ = parameter.values[0]
        if length != "-":
            instruction = insn.decode(bytes.fromhex(hexadecimal), ADDRESS, insn.arch(arch))
            for reason in insn.judge(instruction).refusals.values():
                assert insn.REASONS[reason.code] is reason
                assert reason.why
                assert reason.hint
