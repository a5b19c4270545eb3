package rows

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ipsec_path_exporter/internal/netlab/crowd"
)

// Options are what a row is measured with.
type Options struct {
	// Exporter is the program.
	Exporter string
	// Duration and Peers replace those of the row where they are not 0.
	Duration time.Duration
	Peers    int
	Seed     uint64
	// Dir keeps logs and configurations; empty for a directory that is removed.
	Dir string
	// Out gets lines of progress.
	Out io.Writer
}

// A lab is what a row measures in.
type lab struct {
	Options

	self string // this program
}

const (
	simulatorURL = "http://127.0.0.1:9911"
	exporterAddr = "127.0.0.1:10500"
	exporterURL  = "http://" + exporterAddr
	// poll is the time between two looks at a condition.
	poll = 20 * time.Millisecond
	// patience limits the wait for a program to start.
	patience = 2 * time.Minute
)

var errTimeout = errors.New("timeout")

func lockThread() { runtime.LockOSThread() }

// logf writes a line of progress.
func (l *lab) logf(format string, args ...any) {
	fmt.Fprintf(l.Out, "%s "+format+"\n", append([]any{time.Now().Format("15:04:05")}, args...)...)
}

// duration returns the length of a measurement.
func (l *lab) duration(usual time.Duration) time.Duration {
	if l.Duration > 0 {
		return l.Duration
	}
	return usual
}

// count returns the number of peers.
func (l *lab) count(usual int) int {
	if l.Peers > 0 {
		return l.Peers
	}
	return usual
}

// await waits until a condition holds. It fails if the program ends or limit passes.
func await(ctx context.Context, limit time.Duration, p *Process, what string, holds func() bool) error {
	end := time.Now().Add(limit)
	for !holds() {
		if err := p.Running(); err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%w: %s after %v", errTimeout, what, limit)
		}
		if err := pause(ctx, poll); err != nil {
			return err
		}
	}
	return nil
}

// pause waits for a time.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A simulator is the process that simulates the peers.
type simulator struct {
	*Process
	config crowd.Config
}

// simulate starts the simulator.
func (l *lab) simulate(ctx context.Context, c crowd.Config) (*simulator, error) {
	if err := c.Complete(); err != nil {
		return nil, err
	}
	args := []string{
		l.self, "peers", "--seed", strconv.FormatUint(c.Seed, 10), "--count", strconv.Itoa(c.Count),
		"--delay", c.Delay.String(), "--jitter", c.Jitter.String(),
	}
	mix, narrow := make([]string, 0, len(c.Mix)), make([]string, 0, len(c.Narrow))
	for _, s := range c.Mix {
		mix = append(mix, fmt.Sprintf("%s:%g", s.Kind, s.Weight))
	}
	for _, n := range c.Narrow {
		narrow = append(narrow, strconv.Itoa(n))
	}
	args = append(args, "--mix", strings.Join(mix, ","), "--narrow", strings.Join(narrow, ","))
	p, err := start(ctx, l.Dir, "simulator", args...)
	if err != nil {
		return nil, err
	}
	// The truth must not wait for the programs under test. Without privileges it has to.
	_ = unix.Setpriority(unix.PRIO_PROCESS, p.cmd.Process.Pid, -15)
	s := &simulator{Process: p, config: c}
	return s, await(ctx, patience, p, "the simulator is not ready", func() bool {
		_, err := s.counters(ctx)
		return err == nil
	})
}

// counters returns the counts of the simulator.
func (s *simulator) counters(ctx context.Context) (map[string]float64, error) {
	var all map[string]float64
	return all, getJSON(ctx, simulatorURL+"/counters", &all)
}

// echoes returns the counts of each peer by its address.
func (s *simulator) echoes(ctx context.Context) (map[string]crowd.Echoes, error) {
	var list []crowd.Echoes
	if err := getJSON(ctx, simulatorURL+"/echoes", &list); err != nil {
		return nil, err
	}
	all := make(map[string]crowd.Echoes, len(list))
	for _, e := range list {
		all[e.Address.String()] = e
	}
	return all, nil
}

// residence returns how long replies took since the last reset.
func (s *simulator) residence(ctx context.Context) (residence, error) {
	var counts []crowd.ResidenceCount
	return residence(counts), getJSON(ctx, simulatorURL+"/residence", &counts)
}

func (s *simulator) reset(ctx context.Context) error {
	_, err := request(ctx, http.MethodPost, simulatorURL+"/reset", nil)
	return err
}

// dropped returns the number of packets that the queue of the device dropped: the simulator did not
// read them in time, so they are the fault of neither side.
func dropped() (float64, error) {
	link, err := netlink.LinkByName(crowd.DeviceName)
	if err != nil {
		return 0, err
	}
	return float64(link.Attrs().Statistics.TxDropped), nil
}

func getJSON(ctx context.Context, url string, into any) error {
	b, err := request(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// client asks for no compression by itself.
var client = &http.Client{Transport: &http.Transport{DisableCompression: true}, Timeout: time.Minute}

var errStatus = errors.New("unexpected HTTP status")

// request makes an HTTP request and returns the body of its response.
func request(ctx context.Context, method, url string, headers map[string]string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	response, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: %s: %s", errStatus, url, response.Status)
	}
	return io.ReadAll(response.Body)
}

// residence is a distribution of times.
type residence []crowd.ResidenceCount

// quantile returns the time below which a share q of the replies is, in seconds. Within a bin they
// are spread evenly.
func (r residence) quantile(q float64) float64 {
	total := 0.0
	for _, c := range r {
		total += float64(c.Count)
	}
	left := q * total
	for _, c := range r {
		if n := float64(c.Count); left <= n {
			return (float64(c.Bin) + left/n) * crowd.ResidenceBin.Seconds()
		}
		left -= float64(c.Count)
	}
	return 0
}
