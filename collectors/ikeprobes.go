package collectors

import (
	"errors"
	"fmt"

	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
)

// ErrAccepted means that the peer accepted the offer of an IKE probe and keeps a half-open SA for
// it. Probes of that form are no longer sent.
var ErrAccepted = errors.New("the peer accepts the offer of this form of IKE probe")

// nonceSize is the entropy of an IKE probe.
const nonceSize = 32

// Marker returns the size of the non-ESP marker before the method's IKE messages (RFC 3948, section
// 2.2), 0 without one.
func (m Method) Marker() int {
	if m == NATT {
		return 4
	}
	return 0
}

// IKEProbes makes IKE messages of one form to one peer by one method, IKE or NATT.
type IKEProbes struct {
	Keys    *ikeprobe.Keyring
	Dialect *ikeprobe.Dialect
	Form    ikeprobe.Form
	Method  Method
	Target  Target
}

// Least returns the size of the smallest message, in bytes of the whole IP packet.
func (p *IKEProbes) Least() int {
	return p.headers() + ikeprobe.Size(p.Form, p.Target.IKE.Auth, p.Method == NATT)
}

func (p *IKEProbes) headers() int { return p.Target.Path.HeaderIP() + netio.HeaderUDP }

// Allowed returns an error that wraps ErrAccepted if the peer accepted the form from any collector.
func (p *IKEProbes) Allowed() error {
	if p.Dialect.Allows(p.Form) {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrAccepted, p.Form)
}

// Packet makes a message that fills an IP packet of exactly size bytes, or the smallest one if size
// is 0. Messages of the same size with different roles have different initiator SPIs.
func (p *IKEProbes) Packet(role string, size int) (*netio.Packet, error) {
	packet := &netio.Packet{
		Path: p.Target.Path, Protocol: netio.UDP, Port: p.Target.IKE.UDPPort(p.Method),
		SourcePort: p.Target.IKE.FixedPort(p.Method),
		Token:      p.Keys.SPI(p.Target.Identity(), role, p.Form, size), TokenOffset: p.Method.Marker(),
	}
	payload := 0
	if size > 0 {
		payload = size - p.headers()
	}
	var nonce [nonceSize]byte
	p.Keys.Nonce(nonce[:])
	var err error
	packet.Payload, err = ikeprobe.Build(p.Form, p.Target.IKE.Auth, packet.Token, p.Method == NATT, payload, nonce[:])
	return packet, err
}

// Answers reports whether an answer is an IKE reply, and not the probe itself sent back by a device
// on the path. accepted reports that the peer accepts the offer, so the form is no longer allowed.
func (p *IKEProbes) Answers(a *netio.Answer, token netio.Token) (ok, accepted bool) {
	reply, err := ikeprobe.Classify(a.Payload, token, p.Method == NATT)
	if err != nil {
		return false, false
	}
	if accepted = reply.Name == ikeprobe.NameSA; accepted {
		p.Dialect.Drop(p.Form)
	}
	return true, accepted
}
