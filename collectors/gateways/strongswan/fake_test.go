package strongswan

import (
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/strongswan/govici/vici"
)

// Kinds of packets (strongSwan's src/libcharon/plugins/vici/README.md, "Transport protocol").
const (
	cmdRequest, cmdResponse, cmdUnknown               = 0, 1, 2
	eventRegister, eventUnregister, eventConfirm      = 3, 4, 5
	eventUnknown, eventPacket                    byte = 6, 7
)

// A fakeCharon answers VICI commands with messages in swanctl's raw form.
type fakeCharon struct {
	listener net.Listener
	// replies are by command, streams are events by command that come before the reply.
	replies map[string]string
	streams map[string][]*vici.Message

	mu      sync.Mutex
	clients map[net.Conn]map[string]bool // what they are subscribed to
}

func newFakeCharon(t *testing.T) *fakeCharon {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "v"))
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeCharon{
		listener: l, clients: map[net.Conn]map[string]bool{},
		replies: map[string]string{
			"version": "{daemon=charon version=5.9.8}", "stats": "{plugins=[charon vici kernel-netlink]}", "list-sas": "{}", "list-conns": "{}",
		},
		streams: map[string][]*vici.Message{},
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.clients[c] = map[string]bool{}
			f.mu.Unlock()
			serving.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		f.hangUp()
		serving.Wait()
	})
	return f
}

func (f *fakeCharon) socket() string { return "unix://" + f.listener.Addr().String() }

// hangUp closes all connections, as a restart does.
func (f *fakeCharon) hangUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.clients {
		c.Close()
		delete(f.clients, c)
	}
}

func (f *fakeCharon) serve(c net.Conn) {
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
		name := string(b[2 : 2+int(b[1])])
		switch b[0] {
		case eventRegister, eventUnregister:
			f.mu.Lock()
			f.clients[c][name] = b[0] == eventRegister
			send(c, eventConfirm, "", nil)
			f.mu.Unlock()
		case cmdRequest:
			for _, m := range f.streams[name] {
				send(c, eventPacket, map[string]string{"list-sas": "list-sa", "list-conns": "list-conn"}[name], m)
			}
			if reply, ok := f.replies[name]; ok {
				send(c, cmdResponse, "", parseRaw(reply))
			} else {
				send(c, cmdUnknown, "", nil)
			}
		}
	}
}

// raise sends an event to those who are subscribed, and tells how many that are.
func (f *fakeCharon) raise(event, raw string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for c, events := range f.clients {
		if events[event] {
			send(c, eventPacket, event, parseRaw(raw))
			n++
		}
	}
	return n
}

func send(c net.Conn, kind byte, name string, m *vici.Message) {
	b := []byte{kind}
	if kind == eventPacket {
		b = append(append(b, byte(len(name))), name...)
	}
	if m != nil {
		b = append(b, encode(m)...)
	}
	c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
}
