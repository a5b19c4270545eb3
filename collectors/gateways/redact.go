package gateways

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// A Redactor replaces what identifies the owner of a gateway. It replaces the same text by the same
// text everywhere, so that relations remain visible. It is made for one transcript.
//
// Names have no form of their own: a Source that knows their places calls Name for each before it
// calls Text.
type Redactor struct {
	secrets   []string
	addresses map[netip.Addr]netip.Addr
	given     map[netip.Addr]bool // addresses that were given out, which stay as they are
	v4, v6    uint32
	names     map[string]string
	words     map[string]string // other words that must go: keys, serial numbers, host names
	keep      map[string]bool
}

// NewRedactor makes one. secrets are removed wherever they stand. keep are words that are never
// taken for names, because parsers need them.
func NewRedactor(secrets, keep []string) *Redactor {
	r := &Redactor{
		secrets:   slices.DeleteFunc(slices.Clone(secrets), func(s string) bool { return s == "" }),
		addresses: map[netip.Addr]netip.Addr{}, given: map[netip.Addr]bool{}, names: map[string]string{}, words: map[string]string{}, keep: map[string]bool{},
	}
	// A secret may be part of another.
	slices.SortFunc(r.secrets, func(a, b string) int { return len(b) - len(a) })
	for _, w := range keep {
		r.keep[strings.ToLower(w)] = true
	}
	return r
}

// Forms of the text that is replaced everywhere.
var (
	v4Form = regexp.MustCompile(`\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b`)
	v6Form = regexp.MustCompile(`[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*`)
	// hexForm is an SPI, a cookie, a key, a fingerprint or a serial number: eight hex digits or
	// more, of which one is a digit.
	hexForm = regexp.MustCompile(`\b(0x)?([0-9A-Fa-f]{8,})\b`)
	macForm = regexp.MustCompile(`\b(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}\b|\b(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\b`)
	// hostForm is a host name or an address of mail: labels with dots, the last of letters.
	hostForm = regexp.MustCompile(`\b[\w.+-]*@[\w.-]+\b|\b(?:[A-Za-z0-9_-]+\.)+[A-Za-z]{2,}\b`)
	wordForm = regexp.MustCompile(`[A-Za-z0-9_][\w.@+-]*`)
)

// Name registers s as a name and returns its replacement.
func (r *Redactor) Name(s string) string {
	if s == "" || r.keep[strings.ToLower(s)] {
		return s
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return s // Text replaces it as an address, also where it is used as a name.
	}
	if r.names[s] == "" {
		r.names[s] = fmt.Sprintf("name-%d", len(r.names)+1)
	}
	return r.names[s]
}

// Text replaces everything that is known or has one of the forms.
func (r *Redactor) Text(s string) string {
	for _, secret := range r.secrets {
		s = strings.ReplaceAll(s, secret, "secret")
	}
	s = macForm.ReplaceAllString(s, "0000.5e00.5301") // RFC 7042, section 2.1.1: for documentation.
	s = v4Form.ReplaceAllStringFunc(s, r.address)
	s = v6Form.ReplaceAllStringFunc(s, r.address)
	s = hexForm.ReplaceAllStringFunc(s, r.hex)
	s = wordForm.ReplaceAllStringFunc(s, func(w string) string {
		if n := r.names[w]; n != "" && len(w) > 2 {
			return n
		}
		return w
	})
	return hostForm.ReplaceAllStringFunc(s, r.hostname)
}

// address replaces an address by one of a reserved range: 198.18.0.0/15 (RFC 2544, appendix C.2.2),
// or 2001:db8::/32 (RFC 3849). Masks and well-known addresses remain.
func (r *Redactor) address(s string) string {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return s // a version, a time, or an address that a device has shortened
	}
	a = a.Unmap()
	if a.IsUnspecified() || a.IsLoopback() || mask(a) || r.given[a] {
		return s
	}
	to, ok := r.addresses[a]
	if !ok {
		if a.Is4() {
			r.v4++
			to = netip.AddrFrom4([4]byte{198, 18 + byte(r.v4>>16)&1, byte(r.v4 >> 8), byte(r.v4)})
		} else {
			r.v6++
			to = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 12: byte(r.v6 >> 24), 13: byte(r.v6 >> 16), 14: byte(r.v6 >> 8), 15: byte(r.v6)})
		}
		r.addresses[a], r.given[to] = to, true
	}
	return to.String()
}

// mask reports whether an IPv4 address is a mask, 255.255.255.0 or the like.
func mask(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	b := a.As4()
	v := ^(uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]))
	return v&(v+1) == 0 && b[0] >= 128
}

// hex replaces a long hex number by one of the same length and form. Decimal counters stay.
func (r *Redactor) hex(s string) string {
	digits := strings.TrimPrefix(s, "0x")
	prefix := s[:len(s)-len(digits)]
	decimal := strings.Trim(digits, "0123456789") == ""
	if !strings.ContainsAny(digits, "0123456789") || prefix == "" && decimal && len(digits) < 16 || strings.Trim(digits, "0fF") == "" {
		return s
	}
	if r.words[digits] == "" {
		n := len(r.words) + 1
		r.words[digits] = fmt.Sprintf("%0*x", len(digits), uint32(0xabc00000)+uint32(n))[:len(digits)]
	}
	return prefix + r.words[digits]
}

func (r *Redactor) hostname(s string) string {
	if r.keep[strings.ToLower(s)] {
		return s
	}
	if r.words[s] == "" {
		r.words[s] = fmt.Sprintf("host-%d.example.net", len(r.words)+1)
	}
	return r.words[s]
}
