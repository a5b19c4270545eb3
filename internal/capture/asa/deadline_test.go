package asa

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ipsec_path_exporter/internal/devicelogin"
)

// alert is the type of a TLS record that carries a close_notify (RFC 5246, section 6.2.1).
const alert = 21

// A lingeringConn stays open until the server has answered the close_notify of the client.
type lingeringConn struct {
	net.Conn
	closing  atomic.Bool
	once     sync.Once
	answered chan struct{}
}

func (c *lingeringConn) Write(b []byte) (int, error) {
	if b[0] == alert {
		c.closing.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *lingeringConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.closing.Load() {
		c.once.Do(func() { close(c.answered) })
	}
	return n, err
}

func (c *lingeringConn) Close() error {
	<-c.answered
	return c.Conn.Close()
}

// The server sees the close_notify of a client whose deadline has passed, and then ends the body as
// if it were complete. Fetch must not report success, because the capture is cut off.
func TestCutAtDeadline(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00")) // the client reports what arrived
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	server.TLS = &tls.Config{MaxVersion: tls.VersionTLS12} // later versions hide the type of a record
	server.StartTLS()
	defer server.Close()
	c, err := New(Options{TLS: devicelogin.TLS{Insecure: true}, Timeout: 300 * time.Millisecond, MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	c.http.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return &lingeringConn{Conn: conn, answered: make(chan struct{})}, err
	}
	complete := false
	err = c.Fetch(t.Context(), server.URL+"/capture/SLOW/pcap", func(body io.Reader) error {
		_, err := io.Copy(io.Discard, body)
		complete = err == nil
		return err
	})
	if !complete {
		t.Error("the body did not end as if it were complete: this test shows nothing")
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Fetch returned %v after its deadline", err)
	}
}
