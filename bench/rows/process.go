package rows

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Process is a program that a row has started.
type Process struct {
	name string
	cmd  *exec.Cmd
	out  *os.File
	done chan struct{}
	err  error // of the program, after done

	mu      sync.Mutex
	threads map[string]time.Duration // run time of each thread, also of those that have ended
}

// endTime limits the time that a program takes to end after SIGTERM.
const endTime = 10 * time.Second

// start starts a program whose output goes to a file below dir. It ends with ctx, and if this process
// dies.
func start(ctx context.Context, dir, name string, args ...string) (*Process, error) {
	out, err := os.CreateTemp(dir, filepath.Base(name)+"-*.log")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = endTime
	p := &Process{name: name, cmd: cmd, out: out, done: make(chan struct{}), threads: make(map[string]time.Duration)}
	if err := onThread(cmd.Start); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), out.Close())
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// starter runs functions on one thread that lives as long as the process: a program that is to die
// with its parent dies with the thread that started it.
var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		lockThread()
		for f := range work {
			f()
		}
	}()
	return work
})

func onThread(f func() error) error {
	result := make(chan error)
	starter() <- func() { result <- f() }
	return <-result
}

// CPU returns the run time of all threads so far.
func (p *Process) CPU() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	if err == nil {
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil { // a thread may have ended
				run, _, _ := strings.Cut(string(b), " ")
				if ns, err := strconv.ParseInt(run, 10, 64); err == nil {
					p.threads[f] = time.Duration(ns)
				}
			}
		}
	}
	total := time.Duration(0)
	for _, d := range p.threads {
		total += d
	}
	return total
}

// Memory is the memory of a process in bytes.
type Memory struct {
	// RSS and PSS are current, HighWater is the largest RSS since the start.
	RSS, PSS, HighWater float64
}

// Memory returns the memory of the process.
func (p *Process) Memory() Memory {
	m := Memory{}
	for file, fields := range map[string]map[string]*float64{
		"status":       {"VmRSS": &m.RSS, "VmHWM": &m.HighWater},
		"smaps_rollup": {"Pss": &m.PSS},
	} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file))
		if err != nil {
			continue // it has ended
		}
		for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ":")
			if into := fields[name]; into != nil {
				kib, _, _ := strings.Cut(strings.TrimSpace(value), " ")
				if n, err := strconv.ParseFloat(kib, 64); err == nil {
					*into = n * 1024
				}
			}
		}
	}
	return m
}

// Sockets returns the number of open sockets.
func (p *Process) Sockets() int {
	n := 0
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for _, f := range files {
		if target, err := os.Readlink(f); err == nil && strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n
}

// Signal sends a signal.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Running returns an error with the end of the output if the program has ended.
func (p *Process) Running() error {
	select {
	case <-p.done:
		return fmt.Errorf("%w: %s: %w\n%s", errEnded, p.name, p.err, p.tail())
	default:
		return nil
	}
}

var errEnded = errors.New("program ended")

// tail returns the end of the output.
func (p *Process) tail() string {
	const most = 1000
	b, err := os.ReadFile(p.out.Name())
	if err != nil {
		return ""
	}
	return string(b[max(0, len(b)-most):])
}

// Wait waits for the end of a program that ends by itself, and returns its output.
func (p *Process) Wait(ctx context.Context) (string, error) {
	select {
	case <-p.done:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	b, err := os.ReadFile(p.out.Name())
	return string(b), errors.Join(err, p.out.Close())
}

// Stop ends the program with SIGTERM, and with SIGKILL if it does not end in time. It returns the
// output.
func (p *Process) Stop() string {
	_ = p.Signal(unix.SIGCONT) // it may have ended, or be stalled
	_ = p.Signal(unix.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(endTime):
		_ = p.Signal(unix.SIGKILL)
		<-p.done
	}
	b, err := os.ReadFile(p.out.Name())
	_ = p.out.Close()
	if err != nil {
		return ""
	}
	return string(b)
}
