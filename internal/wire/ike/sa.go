package ike

import (
	"encoding/binary"
	"fmt"
)

// ProtocolIKE is the protocol of a proposal for IKE (RFC 7296, section 3.3.1; RFC 2407, section
// 4.4.1).
const ProtocolIKE = 1

// Types of IKEv2 transforms (RFC 7296, section 3.3.2).
const (
	TransformEncryption = 1
	TransformPRF        = 2
	TransformIntegrity  = 3
	TransformGroup      = 4
)

// TransformKeyIKE is the only transform ID of an IKEv1 proposal for IKE; the offer is in its
// attributes (RFC 2407, section 4.4.2).
const TransformKeyIKE = 1

// Types of attributes: of IKEv1 (RFC 2409, appendix A); AttributeKeyLength is the same in IKEv2
// (RFC 7296, section 3.3.5).
const (
	AttributeEncryption   = 1
	AttributeHash         = 2
	AttributeAuth         = 3
	AttributeGroup        = 4
	AttributeLifeType     = 11
	AttributeLifeDuration = 12
	AttributeKeyLength    = 14
)

const (
	proposalHeaderLength  = 8 // RFC 7296, section 3.3.1
	transformHeaderLength = 8 // RFC 7296, section 3.3.2
	attributeHeaderLength = 4 // RFC 7296, section 3.3.5
	saHeaderLength1       = 8 // RFC 2408, section 3.4: DOI and situation
	situationIdentityOnly = 1 // RFC 2407, section 4.2.1

	moreProposals   = 2 // RFC 7296, section 3.3.1: there are more proposals behind this one
	moreTransforms  = 3 // RFC 7296, section 3.3.2: there are more transforms behind this one
	lastOfItsKind   = 0
	lengthPosition  = 2 // of proposals and transforms alike
	spiSizePosition = 6
	maxTransforms   = 255 // their number has 8 bits
	maxProposals    = 255 // numbers of proposals have 8 bits, too

	shortAttribute = 0x8000 // RFC 7296, section 3.3.5: the value replaces the length
	maskAttribute  = 0x7fff
)

// An Attribute is one attribute of a transform.
type Attribute struct {
	Type uint16 // without the bit that selects the format
	// Value is the value of a short attribute, where Data is nil; Data that of a long one.
	Value uint16
	Data  []byte
}

// A Transform is one choice inside of a proposal.
type Transform struct {
	// Type is the kind of algorithm in IKEv2, and the number of the transform in IKEv1.
	Type uint8
	// ID is the algorithm in IKEv2. In IKEv1 it has 8 bits.
	ID uint16
	// Attributes are the key length in IKEv2, and everything that is offered in IKEv1.
	Attributes []Attribute
}

// A Proposal is one set of choices.
type Proposal struct {
	Number     uint8 // from 1
	Protocol   uint8
	SPI        []byte // empty in the first exchange
	Transforms []Transform
}

// AppendSA appends the body of an IKEv2 security association payload.
func AppendSA(dst []byte, proposals ...Proposal) []byte {
	return appendProposals(dst, false, proposals)
}

// AppendSA1 appends the body of an IKEv1 security association payload (IPsec domain of
// interpretation, identity only).
func AppendSA1(dst []byte, proposals ...Proposal) []byte {
	dst = binary.BigEndian.AppendUint32(dst, doiIPsec)
	dst = binary.BigEndian.AppendUint32(dst, situationIdentityOnly)
	return appendProposals(dst, true, proposals)
}

func appendProposals(dst []byte, v1 bool, proposals []Proposal) []byte {
	for i, p := range proposals {
		start := len(dst)
		dst = append(dst, marker(i, len(proposals), moreProposals), 0, 0, 0)
		dst = append(dst, p.Number, p.Protocol, uint8(len(p.SPI)), uint8(len(p.Transforms)))
		dst = append(dst, p.SPI...)
		for j, t := range p.Transforms {
			dst = appendTransform(dst, v1, marker(j, len(p.Transforms), moreTransforms), t)
		}
		binary.BigEndian.PutUint16(dst[start+lengthPosition:], uint16(len(dst)-start))
	}
	return dst
}

// marker is the first byte of the element at index i of n.
func marker(i, n int, more uint8) uint8 {
	if i == n-1 {
		return lastOfItsKind
	}
	return more
}

func appendTransform(dst []byte, v1 bool, first uint8, t Transform) []byte {
	start := len(dst)
	dst = append(dst, first, 0, 0, 0, t.Type)
	if v1 {
		dst = append(dst, uint8(t.ID), 0, 0) // RFC 2408, section 3.6
	} else {
		dst = append(dst, 0)
		dst = binary.BigEndian.AppendUint16(dst, t.ID)
	}
	for _, a := range t.Attributes {
		if a.Data == nil {
			dst = binary.BigEndian.AppendUint16(dst, shortAttribute|a.Type)
			dst = binary.BigEndian.AppendUint16(dst, a.Value)
			continue
		}
		dst = binary.BigEndian.AppendUint16(dst, a.Type&maskAttribute)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(a.Data)))
		dst = append(dst, a.Data...)
	}
	binary.BigEndian.PutUint16(dst[start+lengthPosition:], uint16(len(dst)-start))
	return dst
}

// ParseSA1 reads the body of an IKEv1 security association payload.
func ParseSA1(body []byte) ([]Proposal, error) {
	if len(body) < saHeaderLength1 {
		return nil, fmt.Errorf("%w: %d bytes of security association", ErrTruncated, len(body))
	}
	return parseProposals(body[saHeaderLength1:])
}

func parseProposals(b []byte) (proposals []Proposal, err error) {
	err = elements(b, proposalHeaderLength, maxProposals, "proposal", func(b []byte) error {
		p := Proposal{Number: b[4], Protocol: b[5]}
		spi, body := int(b[spiSizePosition]), b[proposalHeaderLength:]
		if spi > len(body) {
			return fmt.Errorf("%w: SPI of %d bytes in a proposal with %d left", ErrMalformed, spi, len(body))
		}
		if spi > 0 {
			p.SPI = body[:spi]
		}
		var err error
		p.Transforms, err = parseTransforms(body[spi:])
		proposals = append(proposals, p)
		return err
	})
	return proposals, err
}

func parseTransforms(b []byte) (transforms []Transform, err error) {
	err = elements(b, transformHeaderLength, maxTransforms, "transform", func(b []byte) error {
		t := Transform{Type: b[4], ID: uint16(b[5])}
		var err error
		t.Attributes, err = parseAttributes(b[transformHeaderLength:])
		transforms = append(transforms, t)
		return err
	})
	return transforms, err
}

// elements calls parse for each of the proposals or transforms in b, whose lengths are at the same
// offset in both.
func elements(b []byte, header, most int, noun string, parse func([]byte) error) error {
	for n := 0; len(b) > 0; n++ {
		if n == most {
			return fmt.Errorf("%w: more than %d %ss", ErrMalformed, most, noun)
		}
		if len(b) < header {
			return fmt.Errorf("%s: %w: %d bytes", noun, ErrTruncated, len(b))
		}
		length := int(binary.BigEndian.Uint16(b[lengthPosition:]))
		if length < header || length > len(b) {
			return fmt.Errorf("%s: %w: %d bytes long with %d left", noun, ErrMalformed, length, len(b))
		}
		if err := parse(b[:length]); err != nil {
			return err
		}
		b = b[length:]
	}
	return nil
}

func parseAttributes(b []byte) ([]Attribute, error) {
	var attributes []Attribute
	for len(b) > 0 {
		if len(b) < attributeHeaderLength {
			return attributes, fmt.Errorf("%w: %d bytes of attribute", ErrTruncated, len(b))
		}
		typ, value := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		b = b[attributeHeaderLength:]
		a := Attribute{Type: typ & maskAttribute, Value: value}
		if typ&shortAttribute == 0 {
			if int(value) > len(b) {
				return attributes, fmt.Errorf("%w: %d of %d bytes of attribute %d", ErrTruncated, len(b), value, typ)
			}
			a.Value, a.Data, b = 0, b[:value], b[value:]
		}
		attributes = append(attributes, a)
	}
	return attributes, nil
}
