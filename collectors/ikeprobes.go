package collectors

import (
	"errors"
	"fmt"

	"ipsec_path_exporter/internal/ikeprobe"
	"ipsec_path_exporter/internal/netio"
)

// ErrAccepted means that the peer accepted what an IKE probe offered, and keeps a half-open SA for it. Probes of that form
// are not sent any more.
var ErrAccepted = errors.New("the peer accepts what this form of IKE probe offers")

const (
	// nonceSize is the entropy that an IKE probe wants.
	nonceSize = 32
	// markerSize is the size of the non-ESP marker (RFC 3948, section 2.2).
	markerSize = 4
)

// Marker is the size of the non-ESP marker that IKE messages of the method go behind, in bytes; 0 for those without one.
func (m Method) Marker() int {
	if m == NATT {
		return markerSize
	}
	return 0
}

// IKEProbes are IKE messages of one form to one peer by one method, IKE or NATT.
type IKEProbes struct {
	Keys    *ikeprobe.Keyring
	Dialect *ikeprobe.Dialect
	Form    ikeprobe.Form
	Method  Method
	Target  Target
}

// Least is the size of the smallest message, in bytes of the whole IP packet.
func (p *IKEProbes) Least() int {
	return p.headers() + ikeprobe.Size(p.Form, p.Target.IKE.Auth, p.Method == NATT)
}

func (p *IKEProbes) headers() int { return p.Target.Path.HeaderIP() + netio.HeaderUDP }

// Allowed gives the reason why no more messages of the form may be sent, by whomever the peer was found to accept it.
func (p *IKEProbes) Allowed() error {
	if p.Dialect.Allows(p.Form) {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrAccepted, p.Form)
}

// Packet makes a message that is exactly size bytes long as a whole IP packet, or as small as it can be if size is 0. role tells its
// initiator SPI apart from those of the same size.
func (p *IKEProbes) Packet(role string, size int) (*netio.Packet, error) {
	packet := &netio.Packet{Path: p.Target.Path, Protocol: netio.UDP, Port: p.Target.IKE.Port, TokenOffset: p.Method.Marker()}
	if p.Method == NATT {
		packet.Port = p.Target.IKE.NATTPort
	}
	payload := 0
	if size > 0 {
		payload = size - p.headers()
	}
	packet.Token = p.Keys.SPI(p.Target.Identity(), role, p.Form, size)
	var nonce [nonceSize]byte
	p.Keys.Nonce(nonce[:])
	var err error
	packet.Payload, err = ikeprobe.Build(p.Form, p.Target.IKE.Auth, packet.Token, p.Method == NATT, payload, nonce[:])
	return packet, err
}

// Answers tells whether a reply is an IKE message, and not the probe itself that something on the path sent back. accepted tells that the
// peer accepts what the form offers: then it is not allowed any more.
func (p *IKEProbes) Answers(a *netio.Answer, token netio.Token) (ok, accepted bool) {
	reply, err := ikeprobe.Classify(a.Payload, token, p.Method == NATT)
	if err != nil {
		return false, false
	}
	if reply.Name == ikeprobe.NameSA {
		p.Dialect.Drop(p.Form)
		return true, true
	}
	return true, false
}
