// Package ikeprobe builds IKE messages that ordinary gateways answer without keeping any state, and
// classifies the replies. It sends nothing. Which gateways answer which forms, and which forms lock
// out a gateway's real peers, was measured on strongSwan, Libreswan and OpenIKED; the rules below
// are the harmless ones:
//
//   - the message ID and the responder SPI are always 0 (RFC 7296, sections 2.2 and 2.6);
//   - nothing that is offered can be accepted, so that no half-open SA is left;
//   - a COOKIE (RFC 7296, section 2.6) counts as an answer and is never sent back.
package ikeprobe

// Version is the IKE version of the probes to a peer.
type Version uint8

// The versions. Auto tries the IKEv2 forms, then IKEv1.
const (
	Auto Version = 0
	V1   Version = 1
	V2   Version = 2
)

// Auth is the method named in an IKEv1 offer (RFC 2409, appendix A); it is never used.
type Auth uint8

// The authentication methods.
const (
	PSK Auth = iota
	XAUTH
	RSA
)

// A Form is one kind of probe.
type Form uint8

// The forms, in the order in which they are tried.
const (
	// V2BadKE is an IKE_SA_INIT whose KE payload uses a group listed last: INVALID_KE_PAYLOAD (RFC
	// 7296, sections 1.2, 3.4).
	V2BadKE Form = iota
	// V2Major3 is the same under major version 3: INVALID_MAJOR_VERSION (RFC 7296, section 2.5).
	V2Major3
	// V2NoProp offers only refused algorithms: NO_PROPOSAL_CHOSEN (RFC 7296, section 2.7).
	V2NoProp
	// V1Main is a main mode offer that no gateway accepts: NO-PROPOSAL-CHOSEN (RFC 2409, section
	// 5.4; RFC 2408, section 5.4).
	V1Main
	// V1Minor is the same in minor version 5: INVALID-MINOR-VERSION (RFC 2408, sections 3.1, 5.2).
	V1Minor
)
