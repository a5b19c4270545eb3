package ikeprobe

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"ipsec_path_exporter/internal/wire/ike"
)

// IKEv2 algorithms (IANA registry "Internet Key Exchange Version 2 Parameters"; RFC 7296, section
// 3.3.2).
const (
	encrDES     = 2
	encr3DES    = 3
	encrAESCBC  = 12
	encrAESGCM  = 20 // with an ICV of 16 bytes: RFC 5282
	prfMD5      = 1
	prfSHA1     = 2
	prfSHA256   = 5 // RFC 4868
	prfSHA384   = 6
	prfSHA512   = 7
	integMD5    = 1
	integSHA1   = 2
	integSHA256 = 12 // RFC 4868
	integSHA384 = 13
	integSHA512 = 14
)

// Diffie-Hellman groups and the sizes of their public values in bytes.
const (
	groupMODP768  = 1  // RFC 7296, appendix B.1
	groupCurve448 = 32 // RFC 8031
	lengthMODP768 = 96
	lengthCurve   = 56
)

// IKEv1 attribute values (RFC 2409, appendix A; XAUTH: draft-beaulieu-ike-xauth).
const (
	v1EncryptionDES   = 1
	v1HashMD5         = 1
	v1AuthPSK         = 1
	v1AuthRSA         = 3
	v1AuthXAUTHPSK    = 65001
	v1GroupMODP768    = 1
	v1LifeSeconds     = 1
	v1LifetimeSeconds = 28800
	v1WrongMinor      = 5
)

// vendorXAUTH is the Vendor ID by which both sides announce XAUTH (draft-beaulieu-ike-xauth).
const vendorXAUTH = "\x09\x00\x26\x89\xdf\xd6\xb7\x12"

// message returns a probe of the natural size. Its header lacks the initiator SPI.
func message(f Form, a Auth, nonce []byte, random *entropy) (ike.Message, error) {
	switch f {
	case V2BadKE:
		return saInit(2, badKEBody(), groupCurve448, lengthCurve, nonce, random), nil
	case V2Major3:
		return saInit(3, badKEBody(), groupCurve448, lengthCurve, nonce, random), nil
	case V2NoProp:
		return saInit(2, refusedBody(), groupMODP768, lengthMODP768, nonce, random), nil
	case V1Main:
		return mainMode(0, a), nil
	case V1Minor:
		return mainMode(v1WrongMinor, a), nil
	}
	return ike.Message{}, fmt.Errorf("%w: %d", ErrUnknownForm, f)
}

// saInit returns an IKE_SA_INIT (RFC 7296, section 1.2) without NAT detection, which no error
// answers.
func saInit(major uint8, offer []byte, group uint16, public int, nonce []byte, random *entropy) ike.Message {
	ke := ike.AppendKE(make([]byte, 0, 4+public), group, nil)
	ke = random.append(append(ke, 0), public-1) // below the prime of a MODP group (RFC 6989, section 2.1)
	return ike.Message{
		Header: ike.Header{Major: major, Exchange: ike.ExchangeIKESAInit, Flags: ike.FlagInitiator},
		Payloads: []ike.Payload{
			{Type: ike.PayloadSA, Body: offer},
			{Type: ike.PayloadKE, Body: ke},
			{Type: ike.PayloadNonce, Body: nonce},
		},
	}
}

// The bodies of the offers, encoded once: thousands of probes have them in common, and no message
// changes them.
var (
	badKEBody   = sync.OnceValue(func() []byte { return slices.Clip(ike.AppendSA(nil, badKEOffer()...)) })
	refusedBody = sync.OnceValue(func() []byte { return slices.Clip(ike.AppendSA(nil, refusedOffer()...)) })
)

// badKEOffer is what nearly every gateway finds something in. The group of the KE payload is listed
// last (RFC 7296, section 3.4, demands that it is listed): so the gateway asks for another group,
// and keeps nothing.
func badKEOffer() []ike.Proposal {
	cbc := []ike.Transform{
		encryption(encrAESCBC, 256), encryption(encrAESCBC, 192), encryption(encrAESCBC, 128), {Type: ike.TransformEncryption, ID: encr3DES},
	}
	gcm := []ike.Transform{encryption(encrAESGCM, 256), encryption(encrAESGCM, 128)}
	prfs := transforms(ike.TransformPRF, prfSHA256, prfSHA384, prfSHA512, prfSHA1)
	integrity := transforms(ike.TransformIntegrity, integSHA256, integSHA384, integSHA512, integSHA1)
	groups := transforms(ike.TransformGroup, 31, 19, 20, 21, 14, 15, 16, 5, 2, groupCurve448)
	return []ike.Proposal{
		proposal(1, cbc, prfs, integrity, groups),
		proposal(2, gcm, prfs, groups),
	}
}

// refusedOffer holds algorithms that no gateway accepts any more, with registered numbers: some
// responders treat private numbers as a syntax error.
func refusedOffer() []ike.Proposal {
	return []ike.Proposal{proposal(1,
		transforms(ike.TransformEncryption, encrDES),
		transforms(ike.TransformPRF, prfMD5),
		transforms(ike.TransformIntegrity, integMD5),
		transforms(ike.TransformGroup, groupMODP768),
	)}
}

func proposal(number uint8, choices ...[]ike.Transform) ike.Proposal {
	return ike.Proposal{Number: number, Protocol: ike.ProtocolIKE, Transforms: slices.Concat(choices...)}
}

func encryption(id, bits uint16) ike.Transform {
	return ike.Transform{
		Type: ike.TransformEncryption, ID: id, Attributes: []ike.Attribute{{Type: ike.AttributeKeyLength, Value: bits}},
	}
}

func transforms(typ uint8, ids ...uint16) []ike.Transform {
	list := make([]ike.Transform, len(ids))
	for i, id := range ids {
		list[i] = ike.Transform{Type: typ, ID: id}
	}
	return list
}

// mainMode returns the first message of main mode (RFC 2409, section 5.4), with one transform that
// no gateway accepts, under one authentication method: some responders ignore offers that mix them.
func mainMode(minor uint8, a Auth) ike.Message {
	offer := ike.Proposal{Number: 1, Protocol: ike.ProtocolIKE, Transforms: []ike.Transform{{
		Type: 1, ID: ike.TransformKeyIKE, Attributes: []ike.Attribute{
			{Type: ike.AttributeEncryption, Value: v1EncryptionDES},
			{Type: ike.AttributeHash, Value: v1HashMD5},
			{Type: ike.AttributeAuth, Value: v1Auth(a)},
			{Type: ike.AttributeGroup, Value: v1GroupMODP768},
			{Type: ike.AttributeLifeType, Value: v1LifeSeconds},
			{Type: ike.AttributeLifeDuration, Data: binary.BigEndian.AppendUint32(nil, v1LifetimeSeconds)},
		},
	}}}
	m := ike.Message{
		Header:   ike.Header{Major: 1, Minor: minor, Exchange: ike.ExchangeMain},
		Payloads: []ike.Payload{{Type: ike.PayloadSA1, Body: ike.AppendSA1(nil, offer)}},
	}
	if a == XAUTH {
		m.Payloads = append(m.Payloads, ike.Payload{Type: ike.PayloadVendorID1, Body: []byte(vendorXAUTH)})
	}
	m.Payloads = append(m.Payloads, ike.Payload{Type: ike.PayloadVendorID1, Body: []byte(vendorText)})
	return m
}

// v1Auth is the IKEv1 number of an authentication method.
func v1Auth(a Auth) uint16 {
	switch a {
	case XAUTH:
		return v1AuthXAUTHPSK
	case RSA:
		return v1AuthRSA
	default:
		return v1AuthPSK
	}
}
