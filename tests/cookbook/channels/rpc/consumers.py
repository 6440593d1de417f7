import asyncio

from msgspec import Struct

from .protocol import RpcConsumer, RpcError, methods_of


class Divide(Struct):
    dividend: int
    divisor: int


class Count(Struct):
    to: int
    seconds: float = 1


async def divide(consumer, params: Divide):
    if params.divisor == 0:
        raise RpcError(1, "Nothing can be divided by zero")
    return params.dividend / params.divisor


async def count(consumer, params: Count):
    for number in range(params.to):
        yield number
        await asyncio.sleep(params.seconds)


class CalculatorConsumer(RpcConsumer):
    methods = methods_of(divide, count)
