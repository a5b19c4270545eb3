//go:build !linux

package netio

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"ipsec_path_exporter/internal/silence"
)

// errNoLinux is why nothing is measured here: the probes need socket options that only Linux has.
var errNoLinux = errors.New("measuring a path needs Linux")

// A Stack is the shared sockets of the program. Open makes one on Linux only, so the methods of this
// one are never called.
type Stack struct{}

// A Memory is what a Stack remembers for a sender of packets.
type Memory struct{}

// Available reports that this operating system is not Linux.
func Available() error { return errNoLinux }

// Open reports that this operating system is not Linux.
func Open(Config) (*Stack, error) { return nil, errNoLinux }

// OpenInside reports that this operating system is not Linux.
func (*Stack) OpenInside() (*Stack, error) { return nil, errNoLinux }

// Request reports that this operating system is not Linux.
func (*Stack) Request(context.Context, Path, uint16, *Account, time.Duration) (SynAck, error) {
	return SynAck{}, errNoLinux
}

// Close does nothing.
func (*Stack) Close() error { return nil }

// Capabilities returns none.
func (*Stack) Capabilities() map[Capability]bool { return nil }

// SetLimits does nothing.
func (*Stack) SetLimits(Limits) {}

// Send sends nothing.
func (*Stack) Send(_ context.Context, _ *Packet, _ time.Duration, answer func(Answer)) {
	answer(Answer{Outcome: NotSent, Err: errNoLinux})
}

// Flush does nothing.
func (*Stack) Flush() {}

// Records reports that no evidence is kept.
func (*Stack) Records(*Packet) bool { return false }

// Silence returns no record.
func (*Stack) Silence() *silence.Record { return nil }

// LocalDrops returns 0.
func (*Stack) LocalDrops(bool) uint64 { return 0 }

// Egress returns no interface.
func (*Stack) Egress(Path) string { return "" }

// Route returns no route.
func (*Stack) Route(Path) (Route, error) { return Route{}, errNoLinux }

// Overhear counts nothing.
func (*Stack) Overhear(netip.Addr) (stop func() Overheard) {
	return func() Overheard { return Overheard{} }
}

// Queues returns none.
func (*Stack) Queues() map[string]Queue { return nil }

// Stats returns no counts.
func (*Stack) Stats() Stats { return Stats{} }

// KernelRoutes would ask the kernel for routes: here none is known.
type KernelRoutes struct{}

// NewKernelRoutes returns routes that are all unknown.
func NewKernelRoutes() (*KernelRoutes, error) { return &KernelRoutes{}, nil }

// Close does nothing.
func (*KernelRoutes) Close() {}

// PathMTU returns 0: it is not known.
func (*KernelRoutes) PathMTU(_, _ netip.Addr) int { return 0 }

// Source returns no address.
func (*KernelRoutes) Source(netip.Addr) netip.Addr { return netip.Addr{} }

// An Endpoint would be UDP sockets: here it is never open.
type Endpoint struct{}

// OpenEndpoint reports that this operating system is not Linux.
func (*Stack) OpenEndpoint(netip.AddrPort, func(*Datagram)) (*Endpoint, error) {
	return nil, errNoLinux
}

// Close does nothing.
func (*Endpoint) Close() {}

// Port returns no port.
func (*Endpoint) Port(bool) uint16 { return 0 }

// Send sends nothing.
func (*Endpoint) Send(context.Context, *Outgoing, *Account) error { return errNoLinux }

// Answer sends nothing.
func (*Endpoint) Answer(*Outgoing) error { return errNoLinux }

// Clock returns that nothing is known of the clock.
func Clock() (largest time.Duration, synchronized bool) { return 0, false }
