package icmp

// The kinds of errors, as they stand in metric labels: see ErrorName.
const (
	NameTooBig            = "packet_too_big"
	NameNetwork           = "network_unreachable"
	NameHost              = "host_unreachable"
	NameProtocol          = "protocol_unreachable"
	NamePort              = "port_unreachable"
	NameSourceRoute       = "source_route_failed"
	NameProhibited        = "admin_prohibited"
	NameTTL               = "ttl_exceeded"
	NameReassemblyTimeout = "reassembly_timeout"
	NameParameter         = "parameter_problem"
	NameOther             = "other"
)

// ErrorNames lists all that ErrorName can return.
func ErrorNames() []string {
	return []string{
		NameTooBig, NameNetwork, NameHost, NameProtocol, NamePort, NameSourceRoute, NameProhibited, NameTTL,
		NameReassemblyTimeout, NameParameter, NameOther,
	}
}

// ErrorName names the kind of an ICMP error, the same for what is the same in both families. The names are a closed set
// (ErrorNames), so they can be metric labels.
func ErrorName(v6 bool, typ, code uint8) string {
	if v6 {
		return errorName6(typ, code)
	}
	switch typ {
	case V4DestinationUnreachable:
		return unreachableName4(code)
	case V4TimeExceeded:
		return exceededName(code)
	case V4ParameterProblem:
		return NameParameter
	}
	return NameOther
}

func unreachableName4(code uint8) string {
	switch code {
	case V4NetworkUnreachable, V4NetworkUnknown, V4NetworkUnreachableForTOS:
		return NameNetwork
	case V4HostUnreachable, V4HostUnknown, V4SourceIsolated, V4HostUnreachableForTOS:
		return NameHost
	case V4ProtocolUnreachable:
		return NameProtocol
	case V4PortUnreachable:
		return NamePort
	case V4FragmentationNeeded:
		return NameTooBig
	case V4SourceRouteFailed:
		return NameSourceRoute
	case V4NetworkProhibited, V4HostProhibited, V4CommunicationProhibited:
		return NameProhibited
	}
	return NameOther
}

func errorName6(typ, code uint8) string {
	switch typ {
	case V6DestinationUnreachable:
		return unreachableName6(code)
	case V6PacketTooBig:
		return NameTooBig
	case V6TimeExceeded:
		return exceededName(code)
	case V6ParameterProblem:
		if code == V6UnrecognizedNextHeader {
			return NameProtocol // what a host answers to a protocol that it does not know (RFC 8200, section 4)
		}
		return NameParameter
	}
	return NameOther
}

func unreachableName6(code uint8) string {
	switch code {
	case V6NoRoute:
		return NameNetwork
	case V6BeyondScopeOfSource, V6AddressUnreachable:
		return NameHost
	case V6PortUnreachable:
		return NamePort
	case V6SourceRoutingHeaderError:
		return NameSourceRoute
	case V6AdministrativelyProhibited, V6SourceAddressFailedPolicy, V6RejectRoute:
		return NameProhibited
	}
	return NameOther
}

// exceededName names the codes of a time exceeded message, which both families share.
func exceededName(code uint8) string {
	switch code {
	case V4TimeToLiveExceeded:
		return NameTTL
	case V4ReassemblyTimeoutExceeded:
		return NameReassemblyTimeout
	}
	return NameOther
}
