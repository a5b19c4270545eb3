// Package ike reads and writes IKE messages of both versions as far as they are not encrypted: the
// header, the chain of payloads, and the security association, key exchange, notify, nonce and
// vendor ID payloads of the first exchange (RFC 7296 for IKEv2; RFC 2408 and RFC 2409 for IKEv1).
// It has no cryptography, no sockets and no state.
//
// All input may be forged. Parsers never read beyond their argument, return what could be read
// along with an error, and return slices that point into their argument.
package ike

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// HeaderLength is the size of the header (RFC 7296, section 3.1; RFC 2408, section 3.1).
const HeaderLength = 28

// What can be wrong with a message.
var (
	// ErrTruncated means that the bytes end before the message does.
	ErrTruncated = errors.New("IKE message ends early")
	// ErrMalformed means that a length contradicts what is around it.
	ErrMalformed = errors.New("malformed IKE message")
	// ErrTooManyPayloads means that the chain is longer than any real one.
	ErrTooManyPayloads = errors.New("too many IKE payloads")
	// ErrTooLong means that a payload is too long for its length field.
	ErrTooLong = errors.New("IKE payload is too long")
)

// Flags of an IKEv2 header (RFC 7296, section 3.1).
const (
	FlagInitiator = 0x08
	FlagVersion   = 0x10
	FlagResponse  = 0x20
)

// FlagEncryption of IKEv1 says that all payloads are encrypted (RFC 2408, section 3.1).
const FlagEncryption = 0x01

// Exchange types of IKEv1 (RFC 2408, section 3.1; RFC 2409, appendix A).
const (
	ExchangeBase           = 1
	ExchangeMain           = 2 // "identity protection"
	ExchangeAuthOnly       = 3
	ExchangeAggressive     = 4
	ExchangeInformational1 = 5
	ExchangeTransaction    = 6 // mode config and XAUTH (draft-ietf-ipsec-isakmp-mode-cfg)
	ExchangeQuick          = 32
	ExchangeNewGroup       = 33
)

// Exchange types of IKEv2 (RFC 7296, section 3.1).
const (
	ExchangeIKESAInit        = 34
	ExchangeIKEAuth          = 35
	ExchangeCreateChildSA    = 36
	ExchangeInformational    = 37
	ExchangeIKESessionResume = 38 // RFC 5723
	ExchangeIKEIntermediate  = 43 // RFC 9242
	ExchangeIKEFollowupKE    = 44 // RFC 9370
)

// A Header is the header of a message.
type Header struct {
	// InitiatorSPI and ResponderSPI are called cookies in IKEv1.
	InitiatorSPI, ResponderSPI [8]byte
	NextPayload                uint8 // type of the first payload
	Major, Minor               uint8 // 4 bits each
	Exchange, Flags            uint8
	MessageID                  uint32 // 0 in the first exchange
	// Length is the size of the whole message, header included, in bytes.
	Length uint32
}

// ParseHeader reads the header. It does not judge the version.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLength {
		return Header{}, fmt.Errorf("%w: %d bytes", ErrTruncated, len(b))
	}
	h := Header{
		InitiatorSPI: [8]byte(b[:8]),
		ResponderSPI: [8]byte(b[8:16]),
		NextPayload:  b[16],
		Major:        b[17] >> 4,
		Minor:        b[17] & 0x0f,
		Exchange:     b[18],
		Flags:        b[19],
		MessageID:    binary.BigEndian.Uint32(b[20:]),
		Length:       binary.BigEndian.Uint32(b[24:]),
	}
	if h.Length < HeaderLength {
		return h, fmt.Errorf("%w: length %d", ErrMalformed, h.Length)
	}
	return h, nil
}

// Append appends the header as it is.
func (h *Header) Append(dst []byte) []byte {
	dst = append(dst, h.InitiatorSPI[:]...)
	dst = append(dst, h.ResponderSPI[:]...)
	dst = append(dst, h.NextPayload, h.Major<<4|h.Minor&0x0f, h.Exchange, h.Flags)
	dst = binary.BigEndian.AppendUint32(dst, h.MessageID)
	return binary.BigEndian.AppendUint32(dst, h.Length)
}

// encrypted reports whether all payloads of an IKEv1 message are encrypted. IKEv2 says so by
// payload types.
func (h *Header) encrypted() bool { return h.Major <= 1 && h.Flags&FlagEncryption != 0 }
