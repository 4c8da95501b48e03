"""Asks the service: client.py ADDRESS CASE. All it knows of the messages it learns from the server, by reflection."""

import itertools
import sys
import threading

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "numbers.v1.Numbers"
# Seconds; what is to come comes sooner.
PATIENCE = 20
ENDLESS = 2**62


class Service:
    """The methods, as functions of keyword arguments."""

    def __init__(self, channel, name=SERVICE):
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.methods = DescriptorPool(self.database).FindServiceByName(name).methods_by_name
        self.channel = channel
        self.name = name

    def message(self, method, **fields):
        return GetMessageClass(self.methods[method].input_type)(**fields)

    def call(self, method, kind):
        output = GetMessageClass(self.methods[method].output_type)
        return getattr(self.channel, kind)(
            f"/{self.name}/{method}", request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=output.FromString)

    def divide(self, dividend, divisor):
        message = self.message("Divide", dividend=dividend, divisor=divisor)
        return self.call("Divide", "unary_unary")(message, timeout=PATIENCE)

    def count(self, to, pause, timeout=PATIENCE):
        return self.call("Count", "unary_stream")(self.message("Count", to=to, pause=pause), timeout=timeout)

    def numbers(self, method, values):
        return (self.message(method, value=value) for value in values)

    def given_up(self, at_least, timeout=PATIENCE):
        return self.call("GivenUp", "unary_unary")(self.message("GivenUp", at_least=at_least), timeout=timeout).calls


def fails(call):
    """The error a call ends with."""
    try:
        result = call()
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"no error: {result}")


def unary(service):
    assert SERVICE in service.database.get_services(), "it is told by reflection"
    reply = service.divide(-17, 5)
    assert (reply.quotient, reply.remainder) == (-3, -2), reply


def error(service):
    status = fails(lambda: service.divide(17, 0))
    assert (status.code(), status.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "can't be divided"), status
    metadata = dict(status.trailing_metadata())
    assert metadata["x-divisor"] == "0", metadata
    assert b"divisor" in metadata["grpc-status-details-bin"], metadata
    missing = service.channel.unary_unary("/numbers.v1.Numbers/Nothing")
    assert fails(lambda: missing(b"", timeout=PATIENCE)).code() == grpc.StatusCode.UNIMPLEMENTED


def server_stream(service):
    call = service.count(to=1000, pause=0)
    assert [number.value for number in call] == list(range(1, 1001))
    assert call.code() == grpc.StatusCode.OK


def client_stream(service):
    call = service.call("Sum", "stream_unary")
    assert call(service.numbers("Sum", range(1001)), timeout=PATIENCE).value == 500500
    assert call(iter([]), timeout=PATIENCE).value == 0
    large = fails(lambda: call(service.numbers("Sum", [2**63 - 1, 1]), timeout=PATIENCE))
    assert large.code() == grpc.StatusCode.OUT_OF_RANGE, large


def both_streams(service):
    answered = threading.Semaphore(1)

    def values():
        for value in (1, 2, 6):
            # Each is sent when the one before it has been answered.
            assert answered.acquire(timeout=PATIENCE)
            yield value

    call = service.call("Average", "stream_stream")(service.numbers("Average", values()), timeout=PATIENCE)
    averages = []
    for reply in call:
        averages.append(reply.average)
        answered.release()
    assert averages == [1.0, 1.5, 3.0], averages


def deadline(service):
    late = fails(lambda: list(service.count(to=ENDLESS, pause=1, timeout=0.1)))
    assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED, late
    assert service.given_up(at_least=1) == 1
    late = fails(lambda: service.given_up(at_least=1000, timeout=0.1))
    assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED, late
    # One that does not pass.
    assert [number.value for number in service.count(to=2, pause=1)] == [1, 2]


def cancelled(service):
    call = service.count(to=ENDLESS, pause=1)
    assert [number.value for number in itertools.islice(call, 2)] == [1, 2]
    call.cancel()
    assert fails(lambda: next(call)).code() == grpc.StatusCode.CANCELLED
    assert service.given_up(at_least=1) == 1
    # The connection goes on.
    assert service.divide(4, 2).quotient == 2


def health(service):
    health = Service(service.channel, "grpc.health.v1.Health")
    for name in ("", SERVICE):
        reply = health.call("Check", "unary_unary")(health.message("Check", service=name), timeout=PATIENCE)
        assert reply.status == 1, reply


def main():
    address, case = sys.argv[1:]
    with grpc.insecure_channel(address) as channel:
        grpc.channel_ready_future(channel).result(timeout=PATIENCE)
        globals()[case](Service(channel))


if __name__ == "__main__":
    main()
