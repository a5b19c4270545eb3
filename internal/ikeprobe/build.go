package ikeprobe

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"ipsec_path_exporter/internal/wire/ike"
)

// Why a probe cannot be built.
var (
	// ErrTooSmall means that the form does not fit into so few bytes.
	ErrTooSmall = errors.New("IKE probe does not fit into this size")
	// ErrTooLarge means that no UDP datagram over IPv4 is so large.
	ErrTooLarge = errors.New("IKE probe is larger than a UDP datagram can be")
	// ErrShortNonce means that there is too little entropy.
	ErrShortNonce = errors.New("nonce of an IKE probe is too short")
	// ErrZeroSPI means that the initiator SPI is 0 (RFC 7296, section 2.6).
	ErrZeroSPI = errors.New("initiator SPI of an IKE probe is zero")
	// ErrUnknownForm means that there is no such form.
	ErrUnknownForm = errors.New("unknown form of IKE probe")
)

// Sizes in bytes.
const (
	markerLength = 4     // RFC 3948, section 2.2
	maxPayload   = 65507 // 65535 minus the headers of IPv4 and UDP
	nonceLength  = 32    // RFC 7296, section 2.10: 16 to 256, and at least half the key size of the PRF
	vendorHeader = 4     // RFC 7296, section 3.2; RFC 2408, section 3.2
)

// vendorText starts the Vendor ID of a probe, so that a reader of a trace recognises the probe.
// Receivers ignore unknown ones (RFC 7296, section 3.12; RFC 2408, section 3.16).
const vendorText = "ipsec_path_exporter"

// Size is the natural and least size of a form's UDP payload, in bytes; 0 if unknown.
func Size(f Form, a Auth, marker bool) int {
	if a > RSA {
		a = PSK // as in the message
	}
	n, ok := naturalSizes()[kind{f, a}]
	if !ok {
		return 0
	}
	return n + front(marker)
}

// A kind is what the natural size of a message depends on.
type kind struct {
	form Form
	auth Auth
}

// naturalSizes has the sizes of all messages without a marker, which are asked for before each one is
// built.
var naturalSizes = sync.OnceValue(func() map[kind]int {
	all := make(map[kind]int)
	for f := range V1Minor + 1 {
		for a := range RSA + 1 {
			if m, err := message(f, a, make([]byte, nonceLength), &entropy{}); err == nil {
				all[kind{f, a}] = m.Size()
			}
		}
	}
	return all
})

// Build makes the UDP payload of a probe, exactly size bytes long (0: its natural size), up to
// 65507. With marker, it begins with the non-ESP marker of port 4500. All entropy comes from the
// nonce (at least 32 bytes): the same arguments make the same bytes.
//
// What is missing to size goes into one Vendor ID payload, the only padding that every tried
// responder takes at every size. In IKEv2, a gap that is too small for one (below 23 bytes) makes
// the nonce longer instead, which may have up to 256 bytes. The first message of IKEv1 has no
// nonce, so there the Vendor ID is always present, and grows.
//
// Responders need not take more than 1280 bytes of IKE, and should take 3000 (RFC 7296, section 2);
// strongSwan's limit is 10000.
func Build(f Form, a Auth, spi [8]byte, marker bool, size int, nonce []byte) ([]byte, error) {
	if len(nonce) < nonceLength {
		return nil, fmt.Errorf("%w: %d of %d bytes", ErrShortNonce, len(nonce), nonceLength)
	}
	if spi == ([8]byte{}) {
		return nil, ErrZeroSPI
	}
	random := entropies.Get().(*entropy) //nolint:errcheck // nothing else is in there
	defer entropies.Put(random)
	random.seed(nonce)
	m, err := message(f, a, nonce[:nonceLength], random)
	if err != nil {
		return nil, err
	}
	m.Header.InitiatorSPI = spi
	natural := m.Size() + front(marker)
	if size == 0 {
		size = natural
	}
	if size < natural {
		return nil, fmt.Errorf("%w: %s needs %d bytes, not %d", ErrTooSmall, f, natural, size)
	}
	if size > maxPayload {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, size)
	}
	pad(&m, size-natural, random)
	return m.Append(make([]byte, front(marker), size))
}

func front(marker bool) int {
	if marker {
		return markerLength
	}
	return 0
}

// pad makes the message longer by gap bytes, in its last payload (nonce or Vendor ID).
func pad(m *ike.Message, gap int, random *entropy) {
	last := &m.Payloads[len(m.Payloads)-1]
	switch {
	case gap == 0:
	case last.Type == ike.PayloadNonce && gap >= vendorHeader+len(vendorText):
		body := append(random.padding[:0], vendorText...)
		body = random.append(body, gap-vendorHeader-len(body))
		random.padding = body
		m.Payloads = append(m.Payloads, ike.Payload{Type: ike.PayloadVendorID, Body: body})
	default:
		// The body is clipped, so that the caller's nonce is not written to.
		last.Body = random.append(slices.Clip(last.Body), gap)
	}
}

// An entropy is an endless stream of bytes that look random and are the same for the same seed.
// Padding is taken from it, because a link that compresses might let regular padding pass.
type entropy struct {
	stream rand.ChaCha8
	// padding is for reuse once the message is encoded.
	padding []byte
}

func (e *entropy) seed(seed []byte) { e.stream.Seed(sha256.Sum256(seed)) }

// entropies are for reuse: every probe needs one.
var entropies = sync.Pool{New: func() any { return &entropy{} }}

// append appends n bytes of the stream.
func (e *entropy) append(dst []byte, n int) []byte {
	start := len(dst)
	dst = slices.Grow(dst, n)[:start+n]
	e.stream.Read(dst[start:]) //nolint:errcheck // documented to never return an error
	return dst
}
