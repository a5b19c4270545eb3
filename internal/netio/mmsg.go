//go:build linux

package netio

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batchSize is how many packets one system call reads or writes.
const batchSize = 64

// mmsghdr is struct mmsghdr of sendmmsg(2) and recvmmsg(2).
type mmsghdr struct {
	msg unix.Msghdr
	n   uint32
}

// swapped is a port in network byte order, or back.
func swapped(port uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, port))
}

// inet4 is the same memory as an IPv4 address.
func inet4(name *unix.RawSockaddrInet6) *unix.RawSockaddrInet4 {
	return (*unix.RawSockaddrInet4)(unsafe.Pointer(name)) //nolint:gosec // of the two layouts, this one is shorter
}

// set fills a message header in.
func (m *mmsghdr) set(name *unix.RawSockaddrInet6, size uint32, part *unix.Iovec, oob []byte) {
	m.msg = unix.Msghdr{Name: (*byte)(unsafe.Pointer(name)), Namelen: size, Iov: part} //nolint:gosec // the layout that the kernel defines
	m.msg.SetIovlen(1)
	m.msg.SetControllen(len(oob))
	if len(oob) > 0 {
		m.msg.Control = &oob[0]
	}
}

// sendmsg sends one packet.
func sendmsg(fd int, packet, oob []byte, name *unix.RawSockaddrInet6, size uint32) error {
	var part unix.Iovec
	if len(packet) > 0 {
		part.Base = &packet[0]
	}
	part.SetLen(len(packet))
	var one [1]mmsghdr
	one[0].set(name, size, &part, oob)
	_, err := sending(fd, one[:])
	return err
}

// A batch is the buffers for packets that are read at once.
type batch struct {
	messages [batchSize]mmsghdr
	parts    [batchSize]unix.Iovec
	names    [batchSize]unix.RawSockaddrInet6
	controls [batchSize][controlBuffer]byte
	packets  [batchSize][packetBuffer]byte
}

// receive reads what has come to a socket, without waiting, and returns how many packets that was.
func (b *batch) receive(fd int) (n int, err error) {
	for i := range b.messages {
		b.parts[i].Base = &b.packets[i][0]
		b.parts[i].SetLen(packetBuffer)
		b.messages[i].set(&b.names[i], unix.SizeofSockaddrInet6, &b.parts[i], b.controls[i][:])
	}
	for {
		n, errno := receiving(fd, b.messages[:])
		switch errno {
		case 0:
			return n, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, nil
		default:
			return 0, errno
		}
	}
}

// packet returns a packet of the newest read, with its control messages and its sender.
func (b *batch) packet(i int) (packet, oob []byte, from netip.AddrPort) {
	m := &b.messages[i]
	name := &b.names[i]
	switch name.Family {
	case unix.AF_INET:
		v4 := inet4(name)
		from = netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), swapped(v4.Port))
	case unix.AF_INET6:
		from = netip.AddrPortFrom(netip.AddrFrom16(name.Addr).Unmap(), swapped(name.Port))
	}
	return b.packets[i][:m.n], b.controls[i][:m.msg.Controllen], from
}
