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
)

// DefaultPingSockets is a sensible limit for NewPingSockets: each echo under way takes one file descriptor.
const DefaultPingSockets = 512

// Why an echo was not sent on a ping socket.
var (
	// ErrNoPingSockets means that the kernel does not let this process's group use ping sockets.
	ErrNoPingSockets = errors.New("ping sockets are not allowed (sysctl net.ipv4.ping_group_range)")
	// ErrAllBusy means that as many echoes are under way as the engine may have at once.
	ErrAllBusy = errors.New("all ping sockets are in use")
	// ErrDestination means that this host refuses to send to the address: a broadcast address or a prohibited route.
	ErrDestination = errors.New("destination refused by this host")
)

// PingSockets is the degraded Engine, for processes without CAP_NET_RAW: pro-bing on unprivileged ping sockets
// (icmp(7)). It is not used for everything because
//
//   - it opens a socket, and runs four goroutines that poll it, for every echo: at 10,000 peers that costs ten times
//     the processor time of one shared socket, and the wake-ups show in the round trips;
//   - round trips are taken after the process woke up, not by the kernel;
//   - ping sockets hand out no ICMP errors, and nothing that comes after the first reply: neither duplicates nor late replies;
//   - its DF mode obeys and fills the kernel's path MTU cache, so it could not measure a path's MTU.
//
// The number of echoes under way is bounded. Beyond it echoes are not sent, which is an error of the measurement and not loss.
type PingSockets struct {
	slots   chan struct{}
	account *netio.Account
	running sync.WaitGroup
}

// NewPingSockets returns an Engine that has at most limit echoes under way at once. account may be nil.
func NewPingSockets(limit int, account *netio.Account) *PingSockets {
	return &PingSockets{slots: make(chan struct{}, max(1, limit)), account: account}
}

// Echo implements Engine. It does not wait: the echo goes out from a goroutine that ends with its answer or with ctx.
func (s *PingSockets) Echo(ctx context.Context, path netio.Path, timeout time.Duration, answer func(netio.Answer)) {
	select {
	case s.slots <- struct{}{}:
	default:
		answer(netio.Answer{Outcome: netio.NotSent, Err: ErrAllBusy})
		return
	}
	s.running.Go(func() {
		defer func() { <-s.slots }()
		answer(s.ping(ctx, path, timeout))
	})
}

// Wait returns when no echo is under way any more. Call it after the contexts of all echoes ended.
func (s *PingSockets) Wait() { s.running.Wait() }

func (s *PingSockets) ping(ctx context.Context, path netio.Path, timeout time.Duration) netio.Answer {
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

	// The callbacks run on one goroutine of pro-bing, which has ended when RunWithContext returns. Its own round trip is
	// a difference of wall clocks; these times are monotonic.
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

// explain says what the bare "permission denied" of a ping socket means.
func explain(err error) error {
	switch {
	case err == nil:
		return fmt.Errorf("ping socket: %w", context.Canceled)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", ErrNoPingSockets, err)
	}
	return fmt.Errorf("ping socket: %w", err)
}

// refusal is a silent logger for pro-bing. Version 0.9.1 takes EACCES from sending for a broadcast address and tries again
// for ever, whatever its context says; all that it does between two tries is to log. So a log line at that level ends
// the goroutine that sends, which is how the echo ends.
type refusal struct {
	probing.NoopLogger
	seen bool
}

// Infof ends the calling goroutine.
func (r *refusal) Infof(string, ...any) {
	r.seen = true
	runtime.Goexit()
}
