//go:build linux

package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"ipsec_path_exporter/internal/netlab"
)

// ErrReported means that the demo failed and that its other process has reported the error.
var ErrReported = netlab.ErrFailed

// errParentEnded means that the `go run` that started this process has ended: it forwards no signal
// except Ctrl-C.
var errParentEnded = errors.New("the go command that started the demo has ended")

// errVerdict ends the demo after its verdict.
var errVerdict = errors.New("the verdict is known")

// Run runs the demo until ctx ends, or until its verdict.
func Run(ctx context.Context, o Options) error {
	if netlab.Enter() {
		return inside(ctx, len(o.Listen), o.Log)
	}
	began := time.Now()
	listeners, files, err := listen(ctx, o.Listen)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go watchParent(ctx, cancel)
	visits, leave := context.WithCancel(ctx)
	done := make(chan struct{})
	var verdict error
	go func() {
		defer close(done)
		v := visitor{out: o.Out, began: began, base: baseURL(listeners[0]), peers: peers(), once: o.Once}
		if verdict = v.visit(visits); o.Once {
			cancel(errVerdict)
		}
	}()
	err = netlab.RunInside(ctx, files...)
	ended := context.Cause(ctx)
	leave()
	<-done
	switch {
	case errors.Is(err, netlab.ErrRefused):
		return refused(err)
	case err != nil && ended == nil, errors.Is(ended, errParentEnded):
		return err
	}
	fmt.Fprintln(o.Out, "The demo has ended; its namespaces are removed.")
	return errors.Join(err, verdict)
}

// listen opens the listeners before the lab is built, as files that can be passed to a child.
func listen(ctx context.Context, addresses []string) (at []net.Addr, files []*os.File, err error) {
	for _, a := range addresses {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a)
		if err != nil {
			return at, files, fmt.Errorf("%w (use --web.listen-address)", err)
		}
		tcp, ok := l.(*net.TCPListener)
		if !ok {
			return at, files, fmt.Errorf("listener: a %T cannot be passed to a child", l)
		}
		f, err := tcp.File()
		if err != nil {
			return at, files, errors.Join(fmt.Errorf("listener at %s: %w", a, err), l.Close())
		}
		files = append(files, f)
		at = append(at, l.Addr())
		if err := l.Close(); err != nil { // the file keeps listening
			return at, files, fmt.Errorf("listener at %s: %w", a, err)
		}
	}
	return at, files, nil
}

// baseURL returns the URL of a listener for the user.
func baseURL(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if ip := net.ParseIP(host); err != nil || ip.IsUnspecified() || ip.IsLoopback() && ip.To4() != nil {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// refused adds the remedy to the error of a system that refuses namespaces.
func refused(err error) error {
	if os.Geteuid() == 0 {
		return fmt.Errorf("demo: the system refuses network namespaces even to root: %w (in a container: start it with more privileges)", err)
	}
	return fmt.Errorf("demo: the system refuses namespaces to an ordinary user: %w "+
		"(run it as root: go build . && sudo ./ipsec_path_exporter demo; or allow them: sysctl "+
		"kernel.apparmor_restrict_unprivileged_userns=0, kernel.unprivileged_userns_clone=1 or user.max_user_namespaces)", err)
}

// parentEvery is the interval of the check that `go run` still runs.
const parentEvery = 500 * time.Millisecond

// watchParent ends the demo with the `go run` that started it. Other parents may end, such as a
// shell that leaves it running.
func watchParent(ctx context.Context, end context.CancelCauseFunc) {
	parent := os.Getppid()
	name, err := os.ReadFile("/proc/" + strconv.Itoa(parent) + "/comm")
	if err != nil || strings.TrimSpace(string(name)) != "go" {
		return
	}
	ticker := time.NewTicker(parentEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if os.Getppid() != parent {
				end(errParentEnded)
				return
			}
		}
	}
}
