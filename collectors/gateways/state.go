package gateways

// IKEState is the class of an IKE SA's state. The set is closed; each Source sorts its vendor's words into it by rules, and
// leaves a word that no rule knows at IKEUnknown: it then appears as the vendor's word only.
//
//	connecting -> xauth -> modecfg -> established <-> rekeying
//	     `--(IKEv2, and IKEv1 without both)--^  `-> closing
type IKEState uint8

// The classes of IKE SAs.
const (
	// IKEUnknown is a word that no rule knows.
	IKEUnknown IKEState = iota
	// Connecting is everything before the peers have authenticated each other.
	Connecting
	// XAuth is IKEv1 asking for user name and password (draft-beaulieu-ike-xauth-02).
	XAuth
	// ModeCfg is IKEv1 handing out addresses and routes (draft-dukes-ike-mode-cfg-02).
	ModeCfg
	// Established is an SA that is in use.
	Established
	// IKERekeying is an SA in use that is being replaced. It counts as established.
	IKERekeying
	// IKEClosing is an SA that is being deleted, or what is left of one.
	IKEClosing
)

// IKEStates are all classes in the order in which they are shown, the unknown one left out.
func IKEStates() []IKEState {
	return []IKEState{Connecting, XAuth, ModeCfg, Established, IKERekeying, IKEClosing}
}

// String is the class's label value.
func (s IKEState) String() string {
	switch s {
	case IKEUnknown:
	case Connecting:
		return "connecting"
	case XAuth:
		return "xauth"
	case ModeCfg:
		return "modecfg"
	case Established:
		return "established"
	case IKERekeying:
		return "rekeying"
	case IKEClosing:
		return "closing"
	}
	return "unknown"
}

// Up tells whether an SA of this class protects traffic.
func (s IKEState) Up() bool { return s == Established || s == IKERekeying }

// Negotiating tells whether an SA of this class is still on its way up.
func (s IKEState) Negotiating() bool { return s == Connecting || s == XAuth || s == ModeCfg }

// ChildState is the class of a child SA's state. The set is closed.
type ChildState uint8

// The classes of child SAs.
const (
	// ChildUnknown is a word that no rule knows.
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
	switch s {
	case ChildUnknown:
	case Installing:
		return "installing"
	case Installed:
		return "installed"
	case ChildRekeying:
		return "rekeying"
	case ChildClosing:
		return "closing"
	}
	return "unknown"
}

// Up tells whether a child of this class carries traffic.
func (s ChildState) Up() bool { return s == Installed || s == ChildRekeying }
