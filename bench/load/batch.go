package load

import (
	"errors"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// messageHeader is the struct mmsghdr of sendmmsg(2) and recvmmsg(2).
type messageHeader struct {
	header unix.Msghdr
	bytes  uint32
	_      [4]byte
}

const (
	// batchSize is the number of packets of one system call.
	batchSize = 128
	// controlBytes has room for the timestamp of a packet.
	controlBytes = 64
)

// A batch is a number of packets of one socket, with buffers that never move.
type batch struct {
	headers [batchSize]messageHeader
	vectors [batchSize]unix.Iovec
	names   [batchSize]unix.RawSockaddrInet4
	control [batchSize][controlBytes]byte
	buffers [batchSize][]byte
}

// newBatch returns a batch with buffers of size bytes.
func newBatch(size int) *batch {
	b := &batch{}
	for i := range b.headers {
		b.buffers[i] = make([]byte, size)
		b.vectors[i].Base = &b.buffers[i][0]
		b.vectors[i].SetLen(size)
		h := &b.headers[i].header
		h.Iov, h.Iovlen = &b.vectors[i], 1
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&b.names[i])), unix.SizeofSockaddrInet4
		b.names[i].Family = unix.AF_INET
	}
	return b
}

// send sends the first n packets and returns how many the kernel took.
func (b *batch) send(fd, n int) (int, error) {
	sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.headers[0])), uintptr(n), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(sent), nil
}

// receive reads the packets that wait, without waiting for more, and returns their number.
func (b *batch) receive(fd int) (int, error) {
	for i := range b.headers {
		h := &b.headers[i].header
		h.Namelen = unix.SizeofSockaddrInet4
		h.Control = &b.control[i][0]
		h.SetControllen(controlBytes)
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.headers[0])), batchSize, unix.MSG_DONTWAIT, 0, 0)
	if errors.Is(errno, unix.EAGAIN) {
		return 0, nil
	}
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// packet returns packet i as it was received, with its source and the kernel's time in nanoseconds.
func (b *batch) packet(i int) (bytes []byte, from netip.Addr, at int64) {
	stamp := (*unix.Timespec)(unsafe.Pointer(&b.control[i][unix.SizeofCmsghdr]))
	return b.buffers[i][:b.headers[i].bytes], netip.AddrFrom4(b.names[i].Addr), stamp.Nano()
}
