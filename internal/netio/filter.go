//go:build linux

package netio

import (
	"fmt"
	"math"

	"golang.org/x/net/bpf"

	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ip"
)

// Raw ICMP sockets get a copy of all ICMP that the host receives. A flood of it must not push our
// answers out of a socket's buffer, so each family has two of them, and the kernel sorts (classic
// BPF, socket(7) SO_ATTACH_FILTER):
//
//	                    ┌ reply with our identifier, error that quotes it or our port ─▶ answers
//	ICMP of the host ───┼ any other error ──▶ suspects: forged, foreign, or changed by a NAT
//	                    └ everything else ──▶ not delivered
//
// Both are matched in the same way afterwards; only the buffers are apart. What the suspects'
// buffer loses is counted too.

// A layout says where things are in what a raw socket delivers. Probes have no IPv4 options.
type layout struct {
	echo, echoReply uint32
	errors          []uint32 // types
	// quote is where the quoted IP header is, protocol is where its protocol is, transport how long
	// it is.
	quote, protocol, transport uint32
	icmpProtocol               uint32
	// indirect: an IPv4 header of any length comes first.
	indirect bool
}

func layout4() layout {
	return layout{
		echo: icmp.V4Echo, echoReply: icmp.V4EchoReply,
		errors: []uint32{icmp.V4DestinationUnreachable, icmp.V4TimeExceeded, icmp.V4ParameterProblem},
		quote:  HeaderEcho, protocol: 9, transport: HeaderIPv4, icmpProtocol: ip.ProtocolICMP, indirect: true,
	}
}

func layout6() layout {
	return layout{
		echo: icmp.V6EchoRequest, echoReply: icmp.V6EchoReply,
		errors: []uint32{icmp.V6DestinationUnreachable, icmp.V6PacketTooBig, icmp.V6TimeExceeded, icmp.V6ParameterProblem},
		quote:  HeaderEcho, protocol: 6, transport: HeaderIPv6, icmpProtocol: ip.ProtocolICMPv6,
	}
}

// filter builds the program for the socket of the answers, or for that of the suspects, with the
// identifiers of our echoes and the ports of our datagrams.
func (l layout) filter(ids, ports []uint16, suspects bool) ([]bpf.RawInstruction, error) {
	load := func(off uint32, size int) bpf.Instruction {
		if l.indirect {
			return bpf.LoadIndirect{Off: off, Size: size}
		}
		return bpf.LoadAbsolute{Off: off, Size: size}
	}
	transport := l.quote + l.transport
	ours, other := uint32(0xffff), uint32(0) // how much of a packet passes: all of it, nothing
	if suspects {
		ours, other = other, ours
	}
	p := program{labels: make(map[string]int), goals: make(map[int]string)}
	if l.indirect {
		p.add(bpf.LoadMemShift{Off: 0})
	}
	p.add(load(0, 1))
	p.equal(l.echoReply, "reply")
	for _, typ := range l.errors {
		p.equal(typ, "error")
	}
	p.add(bpf.RetConstant{Val: 0})
	p.label("reply")
	p.add(load(4, 2))
	p.anyOf(ids, "ours", "drop")
	p.label("error")
	p.add(load(l.quote+l.protocol, 1))
	p.equal(l.icmpProtocol, "echo")
	p.unless(ip.ProtocolUDP, "other")
	p.add(load(transport, 2))
	p.anyOf(ports, "ours", "other")
	p.label("echo")
	p.add(load(transport, 1))
	p.unless(l.echo, "other")
	p.add(load(transport+4, 2))
	p.anyOf(ids, "ours", "other")
	p.label("ours")
	p.add(bpf.RetConstant{Val: ours})
	p.label("other")
	p.add(bpf.RetConstant{Val: other})
	p.label("drop")
	p.add(bpf.RetConstant{Val: 0})
	return p.assemble()
}

// A program is a filter under construction, with labels in the place of distances.
type program struct {
	code   []bpf.Instruction
	labels map[string]int
	goals  map[int]string // jumps by their place
}

func (p *program) add(i bpf.Instruction) { p.code = append(p.code, i) }

func (p *program) label(name string) { p.labels[name] = len(p.code) }

// equal goes to a label if what was loaded equals val, unless if it does not.
func (p *program) equal(val uint32, label string) {
	p.goals[len(p.code)] = label
	p.add(bpf.JumpIf{Cond: bpf.JumpEqual, Val: val, SkipTrue: 1})
}

// anyOf goes to one label if what was loaded equals one of the values, and to another if not.
func (p *program) anyOf(values []uint16, label, otherwise string) {
	for _, v := range values[1:] {
		p.equal(uint32(v), label)
	}
	p.unless(uint32(values[0]), otherwise)
	p.jump(label)
}

// jump goes to a label.
func (p *program) jump(label string) {
	p.goals[len(p.code)] = label
	p.add(bpf.Jump{})
}

func (p *program) unless(val uint32, label string) {
	p.goals[len(p.code)] = label
	p.add(bpf.JumpIf{Cond: bpf.JumpEqual, Val: val, SkipFalse: 1})
}

// assemble fills in the distances.
func (p *program) assemble() ([]bpf.RawInstruction, error) {
	for at, label := range p.goals {
		distance := p.labels[label] - at - 1
		if distance < 0 || distance > math.MaxUint8 {
			return nil, fmt.Errorf("filter: label %q is %d instructions from its jump", label, distance)
		}
		switch j := p.code[at].(type) {
		case bpf.JumpIf:
			j.SkipTrue, j.SkipFalse = j.SkipTrue*uint8(distance), j.SkipFalse*uint8(distance)
			p.code[at] = j
		case bpf.Jump:
			p.code[at] = bpf.Jump{Skip: uint32(distance)}
		}
	}
	raw, err := bpf.Assemble(p.code)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	return raw, nil
}
