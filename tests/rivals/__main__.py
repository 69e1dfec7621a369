"""python -m tests.rivals gpt | bert | loss | converge: this project beside the programs it has to beat.

transformers comes with the development tools; nanoGPT is used from a checkout the user names, none of it is here.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from tests.rivals.steps import BERT, GPT


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.rivals", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", required=True)
    for name, case in (("gpt", GPT), ("bert", BERT)):
        one = commands.add_parser(name, help=f"tokens per second and peak memory of a step: {case}")
        _sizes(one)
        one.add_argument("--rounds", type=int, default=9)
        one.add_argument("--dtype", choices=("float32", "bfloat16", "both"), default="both")
    worker = commands.add_parser("work")  # one side of the above; no help, as only `compare` starts it
    worker.add_argument("case", choices=("gpt", "bert"))
    worker.add_argument("who")
    worker.add_argument("dtype")
    _sizes(worker)
    loss = commands.add_parser("loss", help="seconds from a raw text file to a validation loss, as whole processes")
    loss.add_argument("text", help="tinyshakespeare.txt")
    loss.add_argument("--nanogpt", default="", help="nanoGPT checkout with data/shakespeare_char prepared")
    loss.add_argument("--threads", type=int, default=2)
    loss.add_argument("--pairs", type=int, default=2)
    loss.add_argument("--set", action="append", default=[], help="passed on to llmkit pretrain")
    loss.add_argument("--curves", default="", help="a file for all validations, for llmkit pretrain FILE --plot")
    converge = commands.add_parser("converge", help="validation losses after the same tokens, beside transformers")
    converge.add_argument("case", choices=("gpt", "bert"))
    converge.add_argument("text", nargs="+", help="plain text files")
    converge.add_argument("--steps", type=int, default=300)
    converge.add_argument("--threads", type=int, default=1)
    converge.add_argument("--seed", type=int, default=0)
    converge.add_argument("--sides", nargs="+", default=["llmkit float32", "llmkit bfloat16", "transformers float32"])
    options = parser.parse_args()
    if options.what == "loss":
        from tests.rivals.loss import race

        race(options.text, options.nanogpt, options.threads, options.pairs, options.set, options.curves)
        return 0
    if options.what == "converge":
        from tests.rivals.converge import curves

        curves(options.case, options.text, options.sides, options.steps, options.threads, options.seed)
        return 0
    from tests.rivals import pairs

    name = options.case if options.what == "work" else options.what
    case = {"gpt": GPT, "bert": BERT}[name]
    case = replace(case, batch=options.batch or case.batch, vocab=options.vocab or case.vocab)
    if options.what == "work":
        pairs.work(case, options.who, options.dtype, options.nanogpt, options.threads)
        return 0
    rivals = ["transformers"] + (["nanogpt"] if options.nanogpt and name == "gpt" else [])
    sides = [(who, "float32") for who in [*reversed(rivals), "llmkit"]]
    if options.dtype != "float32":
        sides += [("llmkit", "bfloat16"), ("transformers", "bfloat16")]
    if options.dtype == "bfloat16":
        sides = [side for side in sides if side != ("llmkit", "float32")]
    found = pairs.compare(case, sides, nanogpt=options.nanogpt, threads=options.threads, rounds=options.rounds)
    pairs.report(case, found, options.threads)
    if name == "gpt":
        limits = {dtype: pairs.limit(options.threads, dtype) for dtype in {side.dtype for side in found}}
        for side in found:
            rate, most = pairs.gflop(case) / min(pairs.seconds_of(side, options.threads)), limits[side.dtype]
            print(f"{side.name}: {rate:.0f} GFLOP/s, {rate / most:.0%} of the {side.dtype} product ({most:.0f})")
    return 0


def _sizes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--vocab", type=int, default=0)
    parser.add_argument("--nanogpt", default="", help="directory of a nanoGPT checkout")


if __name__ == "__main__":
    sys.exit(main())
