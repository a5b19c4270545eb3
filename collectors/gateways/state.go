package gateways

import "ipsec_path_exporter/internal/enum"

// IKEState is the class of an IKE SA's state. The set is closed. Each Source maps the vendor's
// states to it by rules, and a state that no rule matches to IKEUnknown.
//
//	connecting -> xauth -> modecfg -> established <-> rekeying
//	     `--(IKEv2, and IKEv1 without both)--^  `-> closing
type IKEState uint8

// The classes of IKE SAs.
const (
	// IKEUnknown is a state that no rule matches.
	IKEUnknown IKEState = iota
	// Connecting is everything before the peers have authenticated each other.
	Connecting
	// XAuth is the exchange of user name and password in IKEv1 (draft-beaulieu-ike-xauth-02).
	XAuth
	// ModeCfg is the assignment of addresses and routes in IKEv1 (draft-dukes-ike-mode-cfg-02).
	ModeCfg
	// Established is an SA that is in use.
	Established
	// IKERekeying is an SA in use that is being replaced. It counts as established.
	IKERekeying
	// IKEClosing is an SA that is being deleted, or the remains of one.
	IKEClosing
)

// String is the class's label value.
func (s IKEState) String() string {
	return enum.Name(s, "unknown", "connecting", "xauth", "modecfg", "established", "rekeying", "closing")
}

// Up reports whether an SA of this class protects traffic.
func (s IKEState) Up() bool { return s == Established || s == IKERekeying }

// Negotiating reports whether an SA of this class is still on its way up.
func (s IKEState) Negotiating() bool { return s == Connecting || s == XAuth || s == ModeCfg }

// ChildState is the class of a child SA's state. The set is closed.
type ChildState uint8

// The classes of child SAs.
const (
	// ChildUnknown is a state that no rule matches.
	ChildUnknown ChildState = iota
	// Installing is a child that is being negotiated.
	Installing
	// Installed is a child in use.
	Installed
	// ChildRekeying is a child in use that is being replaced. It counts as installed.
	ChildRekeying
	// ChildClosing is a child that is being deleted, or was replaced.
	ChildClosing
)

// ChildStates are all classes in the order in which they are shown, the unknown one left out.
func ChildStates() []ChildState {
	return []ChildState{Installing, Installed, ChildRekeying, ChildClosing}
}

// String is the class's label value.
func (s ChildState) String() string {
	return enum.Name(s, "unknown", "installing", "installed", "rekeying", "closing")
}

// Up reports whether a child of this class carries traffic.
func (s ChildState) Up() bool { return s == Installed || s == ChildRekeying }
