package check

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"ipsec_path_exporter/internal/untrusted"
)

const (
	// clearLine returns to the beginning of a terminal's line and erases it (ECMA-48, EL).
	clearLine = "\r\x1b[K"
	// columns is the width of the smallest usual terminal, less the last column, which some wrap
	// after.
	columns = 79
	// repaint is how often the time is shown that has passed.
	repaint = time.Second
)

// progress shows a person at a terminal what is under way, and for how long. Elsewhere it prints
// nothing.
type progress struct {
	mu        sync.Mutex
	out       io.Writer // nil where there is no terminal
	began     time.Time
	peers     int
	completed int
	// step is what is under way at the peer that was heard of last.
	peer, what string
}

func newProgress(out io.Writer, peers int) *progress {
	p := &progress{peers: peers, began: time.Now()}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.out = out
	}
	return p
}

// step shows what is under way for a peer.
func (p *progress) step(peer, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peer, p.what = peer, what
	p.paint()
}

// paint shows the line. The caller holds the lock.
func (p *progress) paint() {
	if p.out == nil || p.what == "" {
		return
	}
	line := fmt.Sprintf("%3d s  ", int(time.Since(p.began).Seconds()))
	if p.peers > 1 {
		line += fmt.Sprintf("%d of %d peers done; ", p.completed, p.peers)
	}
	fmt.Fprint(p.out, clearLine+untrusted.Fit(line+p.peer+": "+p.what+" …", columns))
}

// done counts a peer.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.completed++
}

// start shows the time that has passed, until end is called, which leaves an empty line for what
// follows.
func (p *progress) start() (end func()) {
	ended, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		clock := time.NewTicker(repaint)
		defer clock.Stop()
		for {
			select {
			case <-clock.C:
				p.mu.Lock()
				p.paint()
				p.mu.Unlock()
			case <-ended:
				return
			}
		}
	}()
	return func() {
		close(ended)
		<-stopped
		if p.out != nil {
			fmt.Fprint(p.out, clearLine)
		}
	}
}
