package load

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/wire/icmp"
	"ipsec_path_exporter/internal/wire/ip"
)

// A Reference sends one echo request per interval to each of Count addresses from First on, and
// reads the replies, on one raw socket. Every tick it sends what is due with sendmmsg and reads what
// waits with recvmmsg. It keeps one histogram of all round trips, and no series: it is what the work
// costs at least.
type Reference struct {
	First    netip.Addr
	Count    int
	Interval time.Duration
	Tick     time.Duration
}

// A ReferenceResult is what a Reference counted.
type ReferenceResult struct {
	Sent       int `json:"sent"`
	Received   int `json:"received"`
	Unexpected int `json:"unexpected"`
	// Median and P99 are quantiles of the round trips, to 10 us.
	Median time.Duration `json:"median_ns"`
	P99    time.Duration `json:"p99_ns"`
}

const (
	echoBytes   = 64 // the default of ping(8), ICMP header included
	replyBuffer = 256
	// sendBurst is the number of packets between two looks at the clock.
	sendBurst = 32
	// binWidth is the resolution of the histogram of round trips, up to a second.
	binWidth = 10 * time.Microsecond
	bins     = int(time.Second / binWidth)
	// referenceBuffer is the receive buffer of the socket in bytes.
	referenceBuffer = 8 << 20
)

// loop is a Reference that runs.
type loop struct {
	Reference
	ReferenceResult

	fd            int
	id            uint16
	base          uint32
	sent          []int64  // when the newest echo of each address was sent
	sequence      []uint16 // and its number
	out, incoming *batch
	trips         []uint32 // round trips by bins
}

// Run sends until ctx ends.
func (r Reference) Run(ctx context.Context) (ReferenceResult, error) {
	fd, err := echoSocket()
	if err != nil {
		return ReferenceResult{}, err
	}
	defer unix.Close(fd)
	first := r.First.As4()
	l := &loop{
		Reference: r, fd: fd, id: uint16(os.Getpid()), base: binary.BigEndian.Uint32(first[:]),
		sent: make([]int64, r.Count), sequence: make([]uint16, r.Count), trips: make([]uint32, bins), out: newBatch(echoBytes), incoming: newBatch(replyBuffer),
	}
	start, done := time.Now(), 0
	perEcho := float64(r.Interval) / float64(r.Count)
	for ctx.Err() == nil {
		due := int(float64(time.Since(start)) / perEcho)
		for done < due {
			n, err := l.send(done, min(due-done, sendBurst))
			if err != nil {
				return l.ReferenceResult, err
			}
			done += n
		}
		if err := l.receive(); err != nil {
			return l.ReferenceResult, err
		}
		time.Sleep(r.Tick)
	}
	l.Median, l.P99 = l.quantile(0.5), l.quantile(0.99)
	return l.ReferenceResult, nil
}

// quantile returns the round trip that a share of all replies did not exceed.
func (l *loop) quantile(share float64) time.Duration {
	left := share * float64(l.Received)
	for i, n := range l.trips {
		if left -= float64(n); left <= 0 {
			return time.Duration(i+1) * binWidth
		}
	}
	return time.Second
}

// echoSocket opens a raw socket that gets echo replies only, with the kernel's times.
func echoSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return 0, fmt.Errorf("raw socket: %w", err)
	}
	const icmpFilter = 1 // ICMP_FILTER of linux/icmp.h: a set bit drops a type
	filter := ^int32(1 << icmp.V4EchoReply)
	if err := unix.SetsockoptInt(fd, unix.SOL_RAW, icmpFilter, int(filter)); err != nil {
		return fd, fmt.Errorf("filter of the raw socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fd, fmt.Errorf("timestamps: %w", err)
	}
	// Without privileges over the host, the limit of net.core.rmem_max applies.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, referenceBuffer) != nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, referenceBuffer)
	}
	return fd, err
}

// send sends the next n echoes and returns how many the kernel took.
func (l *loop) send(done, n int) (int, error) {
	now := time.Now().UnixNano()
	for i := range n {
		peer := (done + i) % l.Count
		l.sequence[peer] = uint16((done + i) / l.Count)
		l.sent[peer] = now
		binary.BigEndian.PutUint32(l.out.names[i].Addr[:], l.base+uint32(peer))
		p := l.out.buffers[i]
		p[0], p[2], p[3] = icmp.V4Echo, 0, 0
		binary.BigEndian.PutUint16(p[4:], l.id)
		binary.BigEndian.PutUint16(p[6:], l.sequence[peer])
		binary.BigEndian.PutUint16(p[2:], ip.Checksum(p))
	}
	n, err := l.out.send(l.fd, n)
	if err != nil {
		return 0, fmt.Errorf("send: %w", err)
	}
	l.Sent += n
	return n, nil
}

// receive reads everything that waits.
func (l *loop) receive() error {
	for {
		n, err := l.incoming.receive(l.fd)
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		for i := range n {
			l.take(l.incoming.packet(i))
		}
		if n < batchSize {
			return nil
		}
	}
}

func (l *loop) take(packet []byte, from netip.Addr, at int64) {
	four := from.As4()
	peer := binary.BigEndian.Uint32(four[:]) - l.base
	message := packet[min(len(packet), int(packet[0]&0x0f)*4):]
	if len(message) < icmp.HeaderLength || peer >= uint32(l.Count) ||
		binary.BigEndian.Uint16(message[4:]) != l.id || binary.BigEndian.Uint16(message[6:]) != l.sequence[peer] {
		l.Unexpected++
		return
	}
	l.Received++
	l.trips[min(max(int(time.Duration(at-l.sent[peer])/binWidth), 0), bins-1)]++
}
