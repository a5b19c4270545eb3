package strongswan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/strongswan/govici/vici"
)

// Bounds of what is read from a socket. The library has none: it allocates what a length of four bytes
// says, and decodes nested sections by recursion.
const (
	// maxMessage is charon's own limit (VICI_MESSAGE_SIZE_MAX).
	maxMessage = 512 << 10
	// maxElements bounds the values, lists and sections of a message. A list-sa message has 40 of the
	// IKE SA and as many of each child.
	maxElements = 1 << 16
	// maxDepth bounds nested sections; charon nests four.
	maxDepth = 16
	// maxWaiting is how many events may be decoded before they are taken.
	maxWaiting = 8
)

// Elements of a message, and the kind of a message that is an event (strongSwan's
// src/libcharon/plugins/vici/README.md).
const (
	sectionStart, sectionEnd, keyValue = 1, 2, 3
	listStart, listItem, listEnd       = 4, 5, 6
	eventMessage                       = 7
)

var (
	errLarge    = fmt.Errorf("charon sends a message of more than %d bytes", maxMessage)
	errElements = fmt.Errorf("charon sends a message of more than %d elements", maxElements)
	errDeep     = fmt.Errorf("charon sends sections that are nested more than %d times", maxDepth)
	errShape    = errors.New("charon sends a message that is cut off or has an unknown element")
)

// frames is a connection that gives the library whole messages within the bounds only. It stops reading
// while events wait to be taken.
type frames struct {
	net.Conn

	left []byte // of the message that the library reads
	// events is where the library puts events, in the goroutine that reads here.
	events chan vici.Event
	// wake has a value after an event was taken.
	wake   chan struct{}
	once   sync.Once
	closed chan struct{}

	mu     sync.Mutex
	broken error // why a message was refused
}

func newFrames(c net.Conn) *frames {
	return &frames{Conn: c, events: make(chan vici.Event, maxWaiting), wake: make(chan struct{}, 1), closed: make(chan struct{})}
}

// Read implements io.Reader.
func (f *frames) Read(b []byte) (int, error) {
	if len(f.left) == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, f.left)
	f.left = f.left[n:]
	return n, nil
}

// next reads a message, with its length.
func (f *frames) next() error {
	const lengthBytes = 4
	var head [lengthBytes]byte
	if _, err := io.ReadFull(f.Conn, head[:]); err != nil {
		return err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length > maxMessage {
		return f.refuse(errLarge)
	}
	message := make([]byte, lengthBytes+int(length))
	copy(message, head[:])
	body := message[lengthBytes:]
	if _, err := io.ReadFull(f.Conn, body); err != nil {
		return err
	}
	elements, err := skipHeader(body)
	if err == nil {
		err = check(elements)
	}
	if err != nil {
		return f.refuse(err)
	}
	for len(f.events) == cap(f.events) {
		select {
		case <-f.wake:
		case <-f.closed:
			return net.ErrClosed
		}
	}
	f.left = message
	return nil
}

// taken is called after an event was taken.
func (f *frames) taken() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *frames) refuse(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = err
	return err
}

// reason returns why a message was refused, nil if none was.
func (f *frames) reason() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.broken
}

// Close implements io.Closer. It also ends a read that waits for an event to be taken.
func (f *frames) Close() error {
	f.once.Do(func() { close(f.closed) })
	return f.Conn.Close()
}

// skipHeader returns the elements of a message, without its kind and the name of an event.
func skipHeader(body []byte) (elements []byte, err error) {
	switch {
	case len(body) == 0:
		return nil, errShape
	case body[0] != eventMessage:
		return body[1:], nil
	}
	elements, ok := skip(body[1:], 1)
	if !ok {
		return nil, errShape
	}
	return elements, nil
}

// check reports what is wrong with the elements of a message. It allocates nothing.
func check(b []byte) error {
	depth, elements, list := 0, 0, false
	for ok := true; len(b) > 0; {
		kind := b[0]
		b = b[1:]
		if elements++; elements > maxElements {
			return errElements
		}
		switch {
		case list && kind == listItem:
			b, ok = skip(b, 2)
		case list && kind == listEnd:
			list = false
		case list:
			return errShape
		case kind == keyValue:
			if b, ok = skip(b, 1); ok {
				b, ok = skip(b, 2)
			}
		case kind == listStart:
			list = true
			b, ok = skip(b, 1)
		case kind == sectionStart:
			if depth++; depth > maxDepth {
				return errDeep
			}
			b, ok = skip(b, 1)
		case kind == sectionEnd && depth > 0:
			depth--
		default:
			return errShape
		}
		if !ok {
			return errShape
		}
	}
	if depth > 0 || list {
		return errShape
	}
	return nil
}

// skip returns what follows a text and its length, of size bytes.
func skip(b []byte, size int) (rest []byte, ok bool) {
	if len(b) < size {
		return nil, false
	}
	n := int(b[0])
	if size > 1 {
		n = int(binary.BigEndian.Uint16(b))
	}
	if b = b[size:]; len(b) < n {
		return nil, false
	}
	return b[n:], true
}
