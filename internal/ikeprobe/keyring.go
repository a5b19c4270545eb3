package ikeprobe

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"sync"
)

// A Keyring derives initiator SPIs from a secret of the process. They are stable, so a reply names
// the probe that it answers, a late reply is still proof, and a responder sees a bounded set of
// SPIs; and they cannot be guessed from outside the path. It may be used concurrently.
type Keyring struct {
	secret [sha256.Size]byte
	// macs are for reuse: every probe needs one.
	macs sync.Pool
}

// NewKeyring makes a Keyring with a random secret.
func NewKeyring() (*Keyring, error) {
	k := new(Keyring)
	k.macs.New = func() any { return hmac.New(sha256.New, k.secret[:]) }
	if _, err := rand.Read(k.secret[:]); err != nil {
		return nil, fmt.Errorf("random secret: %w", err)
	}
	return k, nil
}

// SPI derives the initiator SPI of a probe: the first 8 bytes of an HMAC-SHA256 of all that it is
// given. It is never 0, which would mean "no SPI" (RFC 7296, section 2.6).
func (k *Keyring) SPI(peer, method string, f Form, size int) [8]byte {
	mac := k.macs.Get().(hash.Hash) //nolint:errcheck // nothing else is in there
	defer k.macs.Put(mac)
	mac.Reset()
	input := make([]byte, 0, 128)
	for _, s := range [...]string{peer, method} { // the lengths keep ("ab", "c") and ("a", "bc") apart
		input = binary.BigEndian.AppendUint32(input, uint32(len(s)))
		input = append(input, s...)
	}
	input = append(input, uint8(f))
	input = binary.BigEndian.AppendUint64(input, uint64(size))
	mac.Write(input)
	spi := [8]byte(mac.Sum(input[:0]))
	if spi == ([8]byte{}) {
		spi[7] = 1
	}
	return spi
}

// Nonce fills dst with random bytes.
func (*Keyring) Nonce(dst []byte) {
	rand.Read(dst) // never returns an error: it ends the process instead
}
