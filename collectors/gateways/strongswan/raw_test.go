package strongswan

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/strongswan/govici/vici"
)

// parseRaw reads a message as `swanctl --raw` prints it: {key=value list=[a b] section {...}}. A
// value may hold blanks.
func parseRaw(s string) *vici.Message {
	p := rawParser{words: strings.Fields(strings.NewReplacer("{", " { ", "}", " } ", "[", " [ ", "]", " ] ").Replace(s))}
	m := vici.NewMessage()
	for len(p.words) > 0 {
		p.into(m)
	}
	return m
}

type rawParser struct{ words []string }

func (p *rawParser) next() string {
	if len(p.words) == 0 {
		return "}"
	}
	w := p.words[0]
	p.words = p.words[1:]
	return w
}

func (p *rawParser) peek() string {
	if len(p.words) == 0 {
		return "}"
	}
	return p.words[0]
}

// into reads up to the end of a section.
func (p *rawParser) into(m *vici.Message) {
	key, value := "", ""
	for {
		w := p.next()
		switch {
		case w == "}":
			return
		case w == "{":
			p.into(m) // the outermost
		case p.peek() == "{" && !strings.Contains(w, "="):
			p.next()
			s := vici.NewMessage()
			p.into(s)
			if err := m.Set(w, s); err != nil {
				panic(err)
			}
		case p.peek() == "[" && strings.HasSuffix(w, "="):
			p.next()
			l := []string{}
			for p.peek() != "]" && len(p.words) > 0 {
				l = append(l, p.next())
			}
			p.next()
			if err := m.Set(strings.TrimSuffix(w, "="), l); err != nil {
				panic(err)
			}
		default:
			if k, v, ok := strings.Cut(w, "="); ok {
				key, value = k, v
			} else {
				value += " " + w
			}
			if err := m.Set(key, value); err != nil {
				panic(err)
			}
		}
	}
}

// encode is the message on the wire (strongSwan's src/libcharon/plugins/vici/README.md, "Message
// format").
func encode(m *vici.Message) []byte {
	var b []byte
	name := func(kind byte, s string) { b = append(append(b, kind, byte(len(s))), s...) }
	value := func(s string) { b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) }
	for _, key := range m.Keys() {
		switch v := m.Get(key).(type) {
		case string:
			name(3, key)
			value(v)
		case []string:
			name(4, key)
			for _, s := range v {
				b = append(b, 5)
				value(s)
			}
			b = append(b, 6)
		case *vici.Message:
			name(1, key)
			b = append(append(b, encode(v)...), 2)
		}
	}
	return b
}

func TestParseRaw(t *testing.T) {
	m := parseRaw("{a=1 b=two words l=[x y] s {c=3 t {}} e=[]}")
	if text(m, "a") != "1" || text(m, "b") != "two words" || len(words(m, "l")) != 2 || text(section(m, "s"), "c") != "3" {
		t.Errorf("%v", m)
	}
	if b := encode(parseRaw("{k=v}")); !bytes.Equal(b, []byte("\x03\x01k\x00\x01v")) {
		t.Errorf("%q", b)
	}
}
