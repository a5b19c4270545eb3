package check

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// clearLine returns to the beginning of a terminal's line and erases it (ECMA-48, EL).
const clearLine = "\r\x1b[K"

// progress shows a person at a terminal what is under way. Elsewhere it prints nothing.
type progress struct {
	mu        sync.Mutex
	out       io.Writer // nil where there is no terminal
	peers     int
	completed int
}

func newProgress(out io.Writer, peers int) *progress {
	p := &progress{peers: peers}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.out = out
	}
	return p
}

// step shows what is under way for a peer.
func (p *progress) step(peer, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == nil {
		return
	}
	fmt.Fprintf(p.out, "%s%d of %d peers done; %s: %s …", clearLine, p.completed, p.peers, peer, what)
}

// done counts a peer.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.completed++
}

// end leaves an empty line for what follows.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out != nil {
		fmt.Fprint(p.out, clearLine)
	}
}
