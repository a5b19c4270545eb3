package netlab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// reg is the register for the values of all rules: the first one of 16 bytes.
const reg = 1

// A rule acts on the packets that pass a hook of a router and match.
type rule struct {
	hook  *nftables.ChainHook
	match []expr.Any
	// act happens to the packets after they are counted; nil drops them.
	act []expr.Any
}

// table returns the table of a fault. Each fault has a table of its own, so its end is the deletion
// of the table, which holds the counter.
func (f Fault) table() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyINet, Name: "netlab-" + string(f)}
}

// install activates the rules of a fault in the namespace and replaces its earlier rules there.
func (f Fault) install(n *NS, rules []rule) error {
	conn, err := nftables.New(nftables.WithNetNSFd(n.Fd()))
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	conn.AddTable(f.table())
	conn.DelTable(f.table())
	table := conn.AddTable(f.table())
	conn.AddObj(&nftables.NamedObj{
		Table: table, Name: counterName, Type: nftables.ObjTypeCounter, Obj: &expr.Counter{},
	})
	chains := map[nftables.ChainHook]*nftables.Chain{}
	for _, r := range rules {
		chain := chains[*r.hook]
		if chain == nil {
			chain = conn.AddChain(&nftables.Chain{
				Name: fmt.Sprintf("hook%d", *r.hook), Table: table, Type: nftables.ChainTypeFilter,
				Hooknum: r.hook, Priority: nftables.ChainPriorityMangle,
			})
			chains[*r.hook] = chain
		}
		act := r.act
		if act == nil {
			act = []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}
		}
		count := &expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: counterName}
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: slices.Concat(r.match, []expr.Any{count}, act)})
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("nftables, fault %s: %w", f, err)
	}
	return nil
}

const counterName = "acted"

func (f Fault) remove(n *NS) error {
	conn, err := nftables.New(nftables.WithNetNSFd(n.Fd()))
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	conn.DelTable(f.table())
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("nftables, end of fault %s: %w", f, err)
	}
	return nil
}

func (f Fault) count(n *NS) (uint64, error) {
	conn, err := nftables.New(nftables.WithNetNSFd(n.Fd()))
	if err != nil {
		return 0, fmt.Errorf("nftables: %w", err)
	}
	objs, err := conn.GetNamedObjects(f.table())
	if err != nil {
		return 0, fmt.Errorf("nftables, counter of %s: %w", f, err)
	}
	for _, o := range objs {
		if named, ok := o.(*nftables.NamedObj); ok {
			if c, ok := named.Obj.(*expr.Counter); ok {
				return c.Packets, nil
			}
		}
	}
	return 0, fmt.Errorf("nftables: fault %s has no counter", f)
}

func meta(key expr.MetaKey, value []byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: reg},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: value},
	}
}

// protocol matches an IP protocol number, after any IPv6 extension headers.
func protocol(number byte) []expr.Any { return meta(expr.MetaKeyL4PROTO, []byte{number}) }

// ipProtocol matches the protocol in the IP header: for nftables, AH on IPv6 is not a protocol but
// an extension header to skip.
func ipProtocol(number byte) [][]expr.Any {
	return [][]expr.Any{
		slices.Concat(meta(expr.MetaKeyNFPROTO, []byte{unix.NFPROTO_IPV4}), protocol(number)),
		slices.Concat(meta(expr.MetaKeyNFPROTO, []byte{unix.NFPROTO_IPV6}), []expr.Any{
			&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 6, Len: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{number}},
		}),
	}
}

func leavingBy(device string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, device)
	return meta(expr.MetaKeyOIFNAME, name)
}

func longerThan(size int) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyLEN, Register: reg},
		&expr.Byteorder{SourceRegister: reg, DestRegister: reg, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpGt, Register: reg, Data: binaryutil.BigEndian.PutUint32(uint32(size))},
	}
}

// transport loads bytes of the header after the IP header; later fragments have none and never
// match.
func transport(offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: length}
}

func transportIs(offset uint32, value ...byte) []expr.Any {
	return []expr.Any{
		transport(offset, uint32(len(value))),
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: value},
	}
}

// udpPort matches UDP to (offset 2) or from (offset 0) a port.
func udpPort(offset uint32, port uint16) []expr.Any {
	return slices.Concat(protocol(unix.IPPROTO_UDP), transportIs(offset, binary.BigEndian.AppendUint16(nil, port)...))
}

func oddUDPSource() []expr.Any {
	return slices.Concat(protocol(unix.IPPROTO_UDP), []expr.Any{
		transport(1, 1),
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 1, Mask: []byte{1}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{1}},
	})
}

// icmp4 and icmp6 match all ICMP except IPv6 neighbour discovery (types 133 to 137, RFC 4861,
// section 4), which the link needs.
func icmp4() []expr.Any { return protocol(unix.IPPROTO_ICMP) }

func icmp6() []expr.Any {
	return slices.Concat(protocol(unix.IPPROTO_ICMPV6), []expr.Any{
		transport(0, 1),
		&expr.Range{Op: expr.CmpOpNeq, Register: reg, FromData: []byte{133}, ToData: []byte{137}},
	})
}

// ptb4 and ptb6 match "packet too big": ICMP type 3 code 4 (RFC 1191, section 4), ICMPv6 type 2
// (RFC 4443, section 3.2).
func ptb4() []expr.Any { return slices.Concat(protocol(unix.IPPROTO_ICMP), transportIs(0, 3, 4)) }

func ptb6() []expr.Any { return slices.Concat(protocol(unix.IPPROTO_ICMPV6), transportIs(0, 2)) }

// echoReply4 and echoReply6 match echo replies (RFC 792; RFC 4443, section 4.2).
func echoReply4() []expr.Any { return slices.Concat(protocol(unix.IPPROTO_ICMP), transportIs(0, 0)) }

func echoReply6() []expr.Any {
	return slices.Concat(protocol(unix.IPPROTO_ICMPV6), transportIs(0, 129))
}

// fragment4 matches every fragment of IPv4: "more fragments" or an offset (RFC 791, section 3.1).
func fragment4() []expr.Any {
	return slices.Concat(meta(expr.MetaKeyNFPROTO, []byte{unix.NFPROTO_IPV4}), []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 6, Len: 2},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 2, Mask: []byte{0x3f, 0xff}, Xor: []byte{0, 0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: []byte{0, 0}},
	})
}

// offsetFlags4 is where the flags and the fragment offset of an IPv4 header are.
const offsetFlags4 = 6

// onlyDF4 matches unfragmented IPv4 packets with DF.
func onlyDF4() []expr.Any {
	return slices.Concat(meta(expr.MetaKeyNFPROTO, []byte{unix.NFPROTO_IPV4}), []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offsetFlags4, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{0x40, 0}},
	})
}

// clearFlags4 clears the flags and the fragment offset, and updates the header's checksum.
func clearFlags4() []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: reg, Data: []byte{0, 0}},
		&expr.Payload{
			OperationType: expr.PayloadWrite, SourceRegister: reg, Base: expr.PayloadBaseNetworkHeader,
			Offset: offsetFlags4, Len: 2, CsumType: expr.CsumTypeInet, CsumOffset: 10,
		},
	}
}

// fragment6 matches every packet with a fragment header (RFC 8200, section 4.5).
func fragment6() []expr.Any {
	return slices.Concat(meta(expr.MetaKeyNFPROTO, []byte{unix.NFPROTO_IPV6}), []expr.Any{
		&expr.Exthdr{
			DestRegister: reg, Type: unix.IPPROTO_FRAGMENT, Len: 1,
			Flags: unix.NFT_EXTHDR_F_PRESENT, Op: expr.ExthdrOpIpv6,
		},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{1}},
	})
}

func percent(share int) []expr.Any {
	return []expr.Any{
		&expr.Numgen{Register: reg, Modulus: 100, Type: unix.NFT_NG_RANDOM},
		&expr.Byteorder{SourceRegister: reg, DestRegister: reg, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpLt, Register: reg, Data: binaryutil.BigEndian.PutUint32(uint32(share))},
	}
}

// above matches packets above a rate per second, after an initial burst as large as nft's default.
func above(perSecond int) []expr.Any {
	return []expr.Any{&expr.Limit{
		Type: expr.LimitTypePkts, Rate: uint64(perSecond), Over: true, Unit: expr.LimitTimeSecond, Burst: 5,
	}}
}

// rewrite writes into the ICMP message and updates its checksum at offset 2.
func rewrite(offset uint32, value []byte) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: reg, Data: value},
		&expr.Payload{
			OperationType: expr.PayloadWrite, SourceRegister: reg, Base: expr.PayloadBaseTransportHeader,
			Offset: offset, Len: uint32(len(value)), CsumType: expr.CsumTypeInet, CsumOffset: 2,
		},
	}
}

func setMark(mark uint32) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: reg, Data: binaryutil.NativeEndian.PutUint32(mark)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg},
	}
}

// towards matches packets to an address (RFC 791, section 3.1; RFC 8200, section 3).
func towards(addr netip.Addr) []expr.Any {
	version, offset := byte(unix.NFPROTO_IPV4), uint32(16)
	if addr.Is6() {
		version, offset = unix.NFPROTO_IPV6, 24
	}
	return slices.Concat(meta(expr.MetaKeyNFPROTO, []byte{version}), []expr.Any{
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(addr.BitLen() / 8)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: addr.AsSlice()},
	})
}
