package icmp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"runtime"
	"sync"
	"time"

	probing "github.com/prometheus-community/pro-bing"

	"ipsec_path_exporter/internal/netio"
	"ipsec_path_exporter/internal/silence"
)

// DefaultPingSockets is the usual limit for NewPingSockets: each echo takes a file descriptor.
const DefaultPingSockets = 512

// Errors of echoes that were not sent on a ping socket.
var (
	// ErrNoPingSockets means that the group of this process may not use ping sockets.
	ErrNoPingSockets = errors.New("ping sockets are not allowed (sysctl net.ipv4.ping_group_range)")
	// ErrAllBusy means that the engine's limit of undecided echoes is reached.
	ErrAllBusy = errors.New("all ping sockets are in use")
	// ErrDestination means that this host refuses to send to the address: it is a broadcast
	// address, or its route is prohibited.
	ErrDestination = errors.New("destination refused by this host")
)

// PingSockets is the Engine of a process without CAP_NET_RAW: pro-bing on unprivileged ping sockets
// (icmp(7)). It has reduced capabilities:
//
//   - each echo opens a socket and runs four goroutines that poll it: with 10,000 peers this costs
//     ten times the processor time of one shared socket, and wake-ups add to the round trips;
//   - round trips end when the process wakes up, not at the kernel's timestamp;
//   - ping sockets return no ICMP errors and nothing after the first reply: no duplicates, no late
//     replies;
//   - its DF mode obeys and fills the kernel's path MTU cache, so it cannot measure a path MTU.
//
// The number of undecided echoes is bounded. Further echoes are not sent, which is not loss.
type PingSockets struct {
	slots   chan struct{}
	account *netio.Account
	silence *silence.Record
	running sync.WaitGroup
}

// NewPingSockets returns an Engine with at most limit undecided echoes, which enters
// them in a record of silence. account may be nil.
func NewPingSockets(limit int, account *netio.Account, record *silence.Record) *PingSockets {
	return &PingSockets{slots: make(chan struct{}, max(1, limit)), account: account, silence: record}
}

// Echo implements Engine. It does not wait: a goroutine that ends with the answer or with ctx sends
// the echo.
func (s *PingSockets) Echo(ctx context.Context, path netio.Path, timeout time.Duration, answer func(netio.Answer)) {
	select {
	case s.slots <- struct{}{}:
	default:
		answer(netio.Answer{Outcome: netio.NotSent, Err: ErrAllBusy})
		return
	}
	charge, err := netio.Enter(s.silence, &netio.Packet{Path: path, Protocol: netio.Echo, Size: wireSize(path)}, time.Now())
	if err != nil {
		<-s.slots
		answer(netio.Answer{Outcome: netio.NotSent, Err: err})
		return
	}
	s.running.Go(func() {
		defer func() { <-s.slots }()
		a := s.ping(ctx, path, timeout)
		netio.Learn(s.silence, charge, path.Dst, &a, time.Now())
		answer(a)
	})
}

// Wait returns when no echo is undecided. Call it after the contexts of all echoes have ended.
func (s *PingSockets) Wait() { s.running.Wait() }

func (s *PingSockets) ping(ctx context.Context, path netio.Path, timeout time.Duration) netio.Answer {
	if path.Mark != 0 {
		return netio.Answer{Outcome: netio.NotSent, Err: fmt.Errorf("firewall mark %#x: %w", path.Mark, netio.ErrNoMark)}
	}
	p := probing.New("")
	p.SetIPAddr(&net.IPAddr{IP: path.Dst.AsSlice()})
	p.SetPrivileged(false)
	p.Count, p.Size = 1, EchoData
	p.Timeout, p.Interval = timeout, timeout
	p.RecordRtts, p.RecordTTLs = false, false
	p.InterfaceName = path.Interface
	if path.Src.IsValid() {
		p.Source = path.Src.String()
	}
	refused := &refusal{}
	p.SetLogger(refused)

	// The callbacks run on one goroutine of pro-bing that has ended when RunWithContext returns.
	// pro-bing takes its own round trip from the wall clock; these times are monotonic.
	a := netio.Answer{Outcome: netio.Silent}
	p.OnSend = func(*probing.Packet) {
		a.Sent = time.Now()
		s.charge(path)
	}
	p.OnRecv = func(reply *probing.Packet) {
		if !reply.IPAddr.IP.Equal(path.Dst.AsSlice()) {
			return
		}
		a.Outcome, a.From, a.Received = netio.Delivered, path.Dst, time.Now()
		a.RoundTrip = a.Received.Sub(a.Sent)
	}
	err := p.RunWithContext(ctx)
	if refused.seen {
		err = ErrDestination
	}
	if a.Outcome != netio.Delivered && (err != nil || a.Sent.IsZero()) {
		return netio.Answer{Outcome: netio.NotSent, Sent: a.Sent, Err: explain(err)}
	}
	return a
}

func (s *PingSockets) charge(path netio.Path) {
	if s.account != nil {
		s.account.Packets.Add(1)
		s.account.Bytes.Add(uint64(wireSize(path)))
	}
}

// explain adds the cause to the bare "permission denied" of a ping socket.
func explain(err error) error {
	switch {
	case err == nil:
		return fmt.Errorf("ping socket: %w", context.Canceled)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", ErrNoPingSockets, err)
	}
	return fmt.Errorf("ping socket: %w", err)
}

// refusal is a silent logger for pro-bing. Version 0.9.1 takes EACCES from sending for a broadcast
// address and tries again forever, regardless of its context, but it logs between two tries. A log
// line at that level therefore ends the sending goroutine, and so the echo.
type refusal struct {
	probing.NoopLogger
	seen bool
}

// Infof ends the calling goroutine.
func (r *refusal) Infof(string, ...any) {
	r.seen = true
	runtime.Goexit()
}
