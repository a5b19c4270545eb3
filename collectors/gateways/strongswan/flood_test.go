package strongswan

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/strongswan/govici/vici"

	"ipsec_path_exporter/collectors/gateways"
	"ipsec_path_exporter/collectors/gateways/gatewaystest"
)

// framed is a message with its length.
func framed(body ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// listSA is a list-sa event with these elements.
func listSA(elements []byte) []byte {
	return framed(append(append([]byte{eventPacket, 7}, "list-sa"...), elements...)...)
}

// hostileSocket answers each request with a confirmation, and floods who asks for the SAs.
func hostileSocket(t *testing.T, flood func(io.Writer)) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "v"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for {
					var length uint32
					if binary.Read(c, binary.BigEndian, &length) != nil {
						return
					}
					b := make([]byte, length)
					if _, err := io.ReadFull(c, b); err != nil {
						return
					}
					switch {
					case b[0] == eventRegister:
						c.Write(framed(eventConfirm))
					case strings.HasPrefix(string(b[2:]), "list-"):
						flood(c)
						return
					default:
						c.Write(framed(cmdResponse))
					}
				}
			}()
		}
	}()
	return "unix://" + l.Addr().String()
}

// endless writes 31 MB of a message again and again, and does not close.
func endless(message []byte) func(io.Writer) {
	return func(w io.Writer) {
		for sent := 0; sent < gatewaystest.FloodBytes; sent += len(message) {
			if _, err := w.Write(message); err != nil {
				return
			}
		}
		io.Copy(io.Discard, w.(io.Reader)) // until the other end closes
	}
}

// TestEndlessAnswers: reading ends with its context, whatever is at the socket, and takes no memory that
// a message only announces.
func TestEndlessAnswers(t *testing.T) {
	section := []byte{sectionStart, 1, 'a', sectionEnd}
	many := listSA(bytes.Repeat(section, maxElements/3))
	sas := listSA(encode(parseRaw("{a {state=ESTABLISHED child-sas {}} b {state=ESTABLISHED child-sas {}}}")))
	for name, tt := range map[string]struct {
		flood func(io.Writer)
		want  error // where it is certain
	}{
		"SAs without end":   {endless(sas), nil},
		"many sections":     {endless(many), nil},
		"events of another": {endless(framed(eventPacket, 1, 'x')), nil},
		"responses":         {endless(framed(cmdRequest, 0)), nil},
		"silence":           {func(w io.Writer) { io.Copy(io.Discard, w.(io.Reader)) }, context.DeadlineExceeded},
		"4 GiB announced":   {endless([]byte{0xff, 0xff, 0xff, 0xff}), errLarge},
		"too many elements": {endless(listSA(bytes.Repeat(section, maxElements/2+1))), errElements},
		"deep sections":     {endless(listSA(bytes.Repeat([]byte{sectionStart, 0}, 100_000))), errDeep},
		"cut off":           {endless(listSA([]byte{keyValue, 200, 'a'})), errShape},
		"spaces":            {endless(bytes.Repeat([]byte(" "), 1<<20)), errLarge},
		"empty messages":    {endless(framed()), errShape},
	} {
		s, err := New(Config{Socket: hostileSocket(t, tt.flood)})
		if err != nil {
			t.Fatal(err)
		}
		gatewaystest.WantEnd(t, name, func(ctx context.Context) {
			if _, err := s.Read(ctx); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%s: error %v, want %v", name, err, tt.want)
			}
		})
		gatewaystest.WantEnd(t, name+", discovery", func(ctx context.Context) {
			if _, err := s.Discover(ctx); err == nil {
				t.Errorf("%s: peers", name)
			}
		})
		s.Close()
	}
}

// TestTooManySAs: a table that is not read to its end is an error.
func TestTooManySAs(t *testing.T) {
	var sas []byte
	for i := range 1000 { // of different names: one name is one SA
		name := strconv.Itoa(i)
		sas = append(append(append(sas, sectionStart, byte(len(name))), name...), sectionEnd)
	}
	s, err := New(Config{Socket: hostileSocket(t, endless(listSA(sas)))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := s.Read(ctx); !errors.Is(err, gateways.ErrTooMany) {
		t.Errorf("error %v", err)
	}
}

// FuzzCheck: what passes the check is what the library decodes, and charon's own form passes.
func FuzzCheck(f *testing.F) {
	f.Add([]byte{keyValue, 1, 'a', 0, 1, 'b', listStart, 1, 'l', listItem, 0, 0, listEnd, sectionStart, 0, sectionEnd})
	f.Add([]byte{sectionStart, 0, listStart, 0})
	f.Add([]byte{keyValue, 200})
	f.Fuzz(func(t *testing.T, elements []byte) {
		if len(elements) > maxMessage/2 {
			return
		}
		ours, theirs := net.Pipe()
		defer ours.Close()
		go func() {
			theirs.Write(listSA(elements))
			theirs.Close()
		}()
		fr := newFrames(ours)
		got, err := io.ReadAll(fr)
		passed := check(elements) == nil
		if err != nil && passed || passed && !bytes.Equal(got, listSA(elements)) || !passed && (len(got) > 0 || fr.reason() == nil) {
			t.Errorf("passed %v, delivered %d bytes, error %v", passed, len(got), err)
		}
	})
}

// TestFramesWait: no more events are read than the session takes, and none is lost.
func TestFramesWait(t *testing.T) {
	charon := newFakeCharon(t)
	const many = 50 * maxWaiting
	for range many {
		charon.streams["list-sas"] = append(charon.streams["list-sas"], parseRaw("{a {state=ESTABLISHED child-sas {}}}"))
	}
	c, err := open(t.Context(), "unix", strings.TrimPrefix(charon.socket(), "unix://"), "list-sa")
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	n := 0
	if err := c.list(t.Context(), "list-sas", func(*vici.Message) error {
		n++
		return nil
	}); err != nil || n != many {
		t.Errorf("%d events of %d, %v", n, many, err)
	}
}
