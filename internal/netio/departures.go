//go:build linux

package netio

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Packet filters of this host may mark packets as they leave and so route them again (nftables, hook
// output of type route; iptables, table mangle), which no question to the kernel shows. Such a mark
// acts by a policy rule. Where there is one for marks, the interface by which a probe leaves is looked
// at, once in a while for each kind of traffic to each peer.
const (
	// departureAge is how long an observation holds.
	departureAge = time.Minute
	// departureTries and departurePause bound the wait for a packet: it leaves before the system call
	// ends, unless a queue or the resolution of a neighbor delays it. After a wait without effect none
	// follows for departureRest, because senders wait too.
	departureTries, departurePause, departureRest = 20, time.Millisecond, time.Second
	// departureAgain is when to look again for traffic that was not seen.
	departureAgain = 200 * time.Millisecond
	// departureHead is what is read of a packet.
	departureHead = 64
)

// A departure is the interface by which traffic was seen to leave.
type departure struct {
	link int // index; 0 if no packet was seen
	at   time.Time
}

// departures sees packets that leave this host (packet(7)). The zero value sees none.
type departures struct {
	file *os.File // nil without CAP_NET_RAW
	// mu is held while one packet is watched.
	mu    sync.Mutex
	bound bool
	// vain is when a wait ended without a packet.
	vain time.Time
}

func (d *departures) open() {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		d.file = os.NewFile(uintptr(fd), "departures")
	}
}

func (d *departures) close() {
	if d.file != nil {
		closing(d.file)
	}
}

// listen has the socket deliver the packets that a filter passes. It is bound at first use: until
// then, the kernel shows it no packet.
func (d *departures) listen(filter []bpf.Instruction) error {
	rc, err := d.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("departures: %w", err)
	}
	var inner error
	err = rc.Control(func(fd uintptr) {
		if inner = attach(int(fd), filter); inner == nil && !d.bound {
			inner = unix.Bind(int(fd), &unix.SockaddrLinklayer{Protocol: allProtocols})
			d.bound = inner == nil
		}
	})
	if err == nil {
		err = inner
	}
	if err != nil {
		return fmt.Errorf("departures: %w", err)
	}
	return nil
}

// watch prepares to see by which interface a probe leaves, if that is to be looked at now. It returns
// a function to call after the probe was sent, or nil.
func (s *Stack) watch(p *Packet) (seen func()) {
	d, path := &s.departures, s.routes.plain(p.path())
	if d.file == nil || p.Path.Interface != "" || p.fragments() > 1 || !s.routes.departureDue(path) || !d.mu.TryLock() {
		return nil
	}
	if d.listen(departureFilter(p)) != nil {
		d.mu.Unlock()
		return nil
	}
	return func() {
		defer d.mu.Unlock()
		links := d.read()
		_ = d.listen(nothing())
		s.routes.departed(path, links)
	}
}

// read returns the interfaces that showed the packet, the upper ones of a stack first.
func (d *departures) read() (links []int) {
	rc, err := d.file.SyscallConn()
	if err != nil {
		return nil
	}
	head := make([]byte, departureHead)
	tries := departureTries
	if time.Since(d.vain) < departureRest {
		tries = 1
	}
	for try := range tries {
		if try > 0 {
			time.Sleep(departurePause)
		}
		err := rc.Control(func(fd uintptr) {
			for {
				_, from, err := unix.Recvfrom(int(fd), head, unix.MSG_DONTWAIT)
				if err != nil {
					return
				}
				if link, ok := from.(*unix.SockaddrLinklayer); ok {
					links = append(links, link.Ifindex)
				}
			}
		})
		if err != nil || len(links) > 0 {
			return links
		}
	}
	if tries > 1 {
		d.vain = time.Now()
	}
	return nil
}

// departureFilter passes packets like a probe that leave this host.
func departureFilter(p *Packet) []bpf.Instruction {
	version, protocol, dst, header := uint32(4), uint32(9), uint32(16), uint32(HeaderIPv4)
	if p.Path.IPv6() {
		version, protocol, dst, header = 6, 6, 24, HeaderIPv6
	}
	type field struct{ offset, size, value uint32 }
	fields := []field{{protocol, 1, uint32(p.number())}}
	for i, b := range p.Path.Dst.AsSlice() {
		fields = append(fields, field{dst + uint32(i), 1, uint32(b)})
	}
	if p.Protocol == UDP {
		fields = append(fields, field{header + 2, 2, uint32(p.Port)})
	}
	code := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: 0, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: version, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
	for _, f := range fields {
		code = append(code, bpf.LoadAbsolute{Off: f.offset, Size: int(f.size)},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: f.value, SkipTrue: 1}, bpf.RetConstant{Val: 0})
	}
	return append(code, bpf.RetConstant{Val: departureHead})
}

// departureDue reports whether the interface of this traffic is to be looked at.
func (r *routes) departureDue(p Path) bool {
	if !r.newestRules().marks[family(p.IPv6())] {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known, age := r.departures[p], departureAge
	if known.link == 0 {
		age = departureAgain
	}
	return time.Since(known.at) >= age
}

// departed records the interfaces by which traffic was seen to leave.
func (r *routes) departed(p Path, links []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.departures) >= maxRoutes {
		clear(r.departures)
	}
	seen := departure{at: time.Now()}
	if len(links) > 0 {
		seen.link = links[0]
	}
	target := r.cache[p].link
	for _, link := range links {
		if link == target {
			seen.link = target // of stacked interfaces, the one that routing names
		}
	}
	if r.departures[p].link != seen.link {
		delete(r.cache, p)
	}
	r.departures[p] = seen
}

// redirect corrects a way by what was seen. The caller holds the lock.
func (r *routes) redirect(p Path, w *way) error {
	seen := r.departures[p]
	if seen.link == 0 || seen.link == w.link || time.Since(seen.at) >= departureAge+routeAge {
		return nil
	}
	src := w.Src
	route, err := r.route(p, found{link: seen.link})
	if err != nil {
		return err
	}
	w.Route, w.link = route, seen.link
	w.Src = src
	// The later fragments of a datagram have no ports: a filter by port leaves them where they are.
	w.raw.apart = w.raw.apart || p.Traffic.Protocol == UDP
	return nil
}
