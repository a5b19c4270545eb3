package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Clients are scrapers of an exporter, and beside them clients that hold or break their connections.
type Clients struct {
	// Address is the host and port of the exporter, Path that of its metrics.
	Address, Path string
	// Scrapers is how many clients scrape, each again as soon as it has a page and has waited for Pause.
	Scrapers int
	Pause    time.Duration
	// Hostile is how many clients of each kind of abuse there are. Each waits for up to Pause before it
	// tries again.
	Hostile int
}

// A ClientsResult is what scrapers saw, and how often each kind of abuse was tried.
type ClientsResult struct {
	Scrapes, Failed int64
	// Slowest is the longest that a scrape took, Problem the last failure.
	Slowest time.Duration
	Problem error
	Abuses  map[string]int64
}

// An abuse uses one connection until the exporter or the client ends it.
type abuse struct {
	name string
	use  func(ctx context.Context, c net.Conn, path string)
}

// drip is the time between two bytes of a slow client.
const drip = 200 * time.Millisecond

// abuses are the ways in which a client can hold what a server has, or break its parser.
var abuses = []abuse{
	{"slow header", func(ctx context.Context, c net.Conn, path string) {
		slowly(ctx, c, "GET "+path+" HTTP/1.1\r\nHost: x\r\nX-A: "+strings.Repeat("a", 1<<20))
	}},
	{"slow body", func(ctx context.Context, c net.Conn, path string) {
		fmt.Fprintf(c, "POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 1<<30)
		slowly(ctx, c, path+strings.Repeat("a", 1<<20))
	}},
	{"large header", func(_ context.Context, c net.Conn, path string) {
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nX-A: %s\r\n\r\n", path, strings.Repeat("a", 4<<20))
		_, _ = io.Copy(io.Discard, c)
	}},
	{"many headers", func(_ context.Context, c net.Conn, path string) {
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", path, strings.Repeat("A: b\r\n", 1<<18))
		_, _ = io.Copy(io.Discard, c)
	}},
	{"large body", func(ctx context.Context, c net.Conn, path string) {
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", path)
		chunk := fmt.Appendf(nil, "%x\r\n%s\r\n", 1<<16, bytes.Repeat([]byte("a"), 1<<16))
		for range 1 << 10 {
			if _, err := c.Write(chunk); err != nil || ctx.Err() != nil {
				return
			}
		}
	}},
	{"reads slowly", func(ctx context.Context, c net.Conn, path string) {
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nAccept-Encoding: identity\r\n\r\n", path)
		var b [1]byte
		for wait(ctx, drip) {
			if _, err := c.Read(b[:]); err != nil {
				return
			}
		}
	}},
	{"hangs up", func(_ context.Context, c net.Conn, path string) {
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	}},
	{"never reads", func(ctx context.Context, c net.Conn, path string) {
		request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
		_, _ = io.WriteString(c, strings.Repeat(request, 1<<10)) // until buffers are full or the deadline
		wait(ctx, drip)
	}},
	{"no HTTP", func(_ context.Context, c net.Conn, _ string) {
		_, _ = c.Write([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\xff GET * FOO/9\r\n\r\n"))
		_, _ = io.Copy(io.Discard, c)
	}},
}

// Abuses returns the names of the kinds of abuse.
func Abuses() []string {
	var names []string
	for _, a := range abuses {
		names = append(names, a.name)
	}
	return names
}

// slowly writes a byte at a time.
func slowly(ctx context.Context, c net.Conn, text string) {
	for i := range len(text) {
		if _, err := c.Write([]byte{text[i]}); err != nil || !wait(ctx, drip) {
			return
		}
	}
}

// wait reports whether ctx has not ended after a time.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// Run loads the exporter until ctx ends, and has closed all connections when it returns.
func (c Clients) Run(ctx context.Context) ClientsResult {
	var all sync.WaitGroup
	var mu sync.Mutex
	var out ClientsResult
	tried := make([]atomic.Int64, len(abuses))
	transport := &http.Transport{MaxIdleConnsPerHost: c.Scrapers}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for range c.Scrapers {
		all.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				err := c.scrape(ctx, client)
				took := time.Since(began)
				if ctx.Err() != nil {
					return
				}
				mu.Lock()
				out.Scrapes++
				out.Slowest = max(out.Slowest, took)
				if err != nil {
					out.Failed++
					out.Problem = err
				}
				mu.Unlock()
				wait(ctx, c.Pause)
			}
		})
	}
	for i, a := range abuses {
		for range c.Hostile {
			all.Go(func() {
				for ctx.Err() == nil {
					c.abuse(ctx, a)
					tried[i].Add(1)
					wait(ctx, rand.N(c.Pause))
				}
			})
		}
	}
	all.Wait()
	out.Abuses = make(map[string]int64)
	for i, a := range abuses {
		out.Abuses[a.name] = tried[i].Load()
	}
	return out
}

var errPage = errors.New("the page is not complete")

// scrape reads a page to its end.
func (c Clients) scrape(ctx context.Context, client *http.Client) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Address+c.Path, http.NoBody)
	if err != nil {
		return err
	}
	w, err := client.Do(r)
	if err != nil {
		return err
	}
	defer w.Body.Close()
	found := false
	for lines := bufio.NewScanner(w.Body); ; {
		if !lines.Scan() {
			err = lines.Err()
			break
		}
		found = found || strings.HasPrefix(lines.Text(), "ipsec_path_exporter_build_info")
	}
	if err == nil && (w.StatusCode != http.StatusOK || !found) {
		err = fmt.Errorf("%w: status %d", errPage, w.StatusCode)
	}
	return err
}

// abuse uses one connection, which ends with ctx.
func (c Clients) abuse(ctx context.Context, a abuse) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.Address)
	if err != nil {
		return
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	a.use(ctx, conn, c.Path)
}
