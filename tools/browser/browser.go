// Package browser opens web pages in headless Chromium and checks what a person would see: errors
// in the console, parts wider than the screen, texts that are hard to read, links that lead nowhere.
//
// It speaks the DevTools protocol over a pipe (--remote-debugging-pipe): messages of JSON that end
// with a zero byte. So it needs no port and no library.
package browser

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// ErrMissing means that Chromium is not installed.
var ErrMissing = errors.New("no Chromium (Debian: apt-get install chromium)")

// errEnded means that the browser has ended.
var errEnded = errors.New("the browser has ended")

// A Browser is a running Chromium.
type Browser struct {
	cmd  *exec.Cmd
	to   io.WriteCloser
	log  bytes.Buffer
	read sync.WaitGroup

	writing sync.Mutex // held while a command is sent, because the pipe may be full

	mu      sync.Mutex
	last    int
	waiting map[int]chan<- message
	pages   map[string]*Page
	ended   bool
}

// A message is a command, its answer, or an event.
type message struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// Start starts Chromium with its profile in a directory. It ends with ctx, or by Close.
func Start(ctx context.Context, profile string) (*Browser, error) {
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		return nil, ErrMissing
	}
	args := []string{
		"--headless=new", "--remote-debugging-pipe", "--user-data-dir=" + profile, "--no-first-run", "--disable-gpu", "--hide-scrollbars",
		"--disable-background-networking", "--disable-dev-shm-usage", "--ignore-certificate-errors", "--force-color-profile=srgb",
		"--no-sandbox", // there is none for root or in most containers, and the pages are our own
	}
	theirIn, toThem, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	fromThem, theirOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, theirIn.Close(), toThem.Close())
	}
	b := &Browser{to: toThem, waiting: make(map[int]chan<- message), pages: make(map[string]*Page)}
	b.cmd = exec.CommandContext(ctx, program, append(args, "about:blank")...) //nolint:gosec // one of the names above
	b.cmd.ExtraFiles = []*os.File{theirIn, theirOut}                          // descriptors 3 and 4
	b.cmd.Stderr = &b.log
	err = errors.Join(b.cmd.Start(), theirIn.Close(), theirOut.Close())
	if err != nil {
		return nil, errors.Join(err, toThem.Close(), fromThem.Close())
	}
	b.read.Go(func() { b.receive(fromThem) })
	return b, nil
}

// closeTimeout is how long the browser may take to end by itself.
const closeTimeout = 10 * time.Second

// Close ends the browser.
func (b *Browser) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_, err := b.call(ctx, "", "Browser.close", nil)
	if err != nil {
		_ = b.cmd.Process.Kill() // it does not answer
	}
	_ = b.to.Close()
	b.read.Wait()
	if waitErr := b.cmd.Wait(); waitErr != nil && err == nil {
		return fmt.Errorf("chromium: %w\n%s", waitErr, &b.log)
	}
	return nil
}

// receive hands out answers and events until the browser ends.
func (b *Browser) receive(from io.ReadCloser) {
	defer from.Close()
	for r := bufio.NewReader(from); ; {
		line, err := r.ReadBytes(0)
		if err != nil {
			break
		}
		var m message
		if json.Unmarshal(bytes.TrimSuffix(line, []byte{0}), &m) == nil {
			b.handOut(&m)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	for id, c := range b.waiting {
		close(c)
		delete(b.waiting, id)
	}
	for _, p := range b.pages {
		p.finish()
	}
}

func (b *Browser) handOut(m *message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.waiting[m.ID]; c != nil {
		c <- *m
		delete(b.waiting, m.ID)
		return
	}
	if p := b.pages[m.SessionID]; p != nil {
		p.event(m)
	}
}

// call sends a command and returns its result.
func (b *Browser) call(ctx context.Context, session, method string, params any) (json.RawMessage, error) {
	if params == nil {
		params = struct{}{}
	}
	text, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	answer := make(chan message, 1)
	if err := b.send(&message{SessionID: session, Method: method, Params: text}, answer); err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: %w", method, ctx.Err())
	case m, ok := <-answer:
		switch {
		case !ok:
			return nil, fmt.Errorf("%s: %w", method, errEnded)
		case m.Error != nil:
			return nil, fmt.Errorf("%s: %s", method, m.Error.Message)
		}
		return m.Result, nil
	}
}

func (b *Browser) send(m *message, answer chan<- message) error {
	var err error
	if m.ID, err = b.expect(answer); err != nil {
		return err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	b.writing.Lock()
	defer b.writing.Unlock()
	_, err = b.to.Write(append(text, 0))
	return err
}

// expect returns the number of a command whose answer is awaited.
func (b *Browser) expect(answer chan<- message) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return 0, errEnded
	}
	b.last++
	b.waiting[b.last] = answer
	return b.last, nil
}
