package icmp

// The kinds of errors, as they stand in metric labels.
const (
	nameTooBig            = "packet_too_big"
	nameNetwork           = "network_unreachable"
	nameHost              = "host_unreachable"
	nameProtocol          = "protocol_unreachable"
	namePort              = "port_unreachable"
	nameSourceRoute       = "source_route_failed"
	nameProhibited        = "admin_prohibited"
	nameTTL               = "ttl_exceeded"
	nameReassemblyTimeout = "reassembly_timeout"
	nameParameter         = "parameter_problem"
	nameOther             = "other"
)

// ErrorNames lists all that ErrorName can return.
func ErrorNames() []string {
	return []string{
		nameTooBig, nameNetwork, nameHost, nameProtocol, namePort, nameSourceRoute, nameProhibited, nameTTL,
		nameReassemblyTimeout, nameParameter, nameOther,
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
		return nameParameter
	}
	return nameOther
}

func unreachableName4(code uint8) string {
	switch code {
	case V4NetworkUnreachable, V4NetworkUnknown, V4NetworkUnreachableForTOS:
		return nameNetwork
	case V4HostUnreachable, V4HostUnknown, V4SourceIsolated, V4HostUnreachableForTOS:
		return nameHost
	case V4ProtocolUnreachable:
		return nameProtocol
	case V4PortUnreachable:
		return namePort
	case V4FragmentationNeeded:
		return nameTooBig
	case V4SourceRouteFailed:
		return nameSourceRoute
	case V4NetworkProhibited, V4HostProhibited, V4CommunicationProhibited:
		return nameProhibited
	}
	return nameOther
}

func errorName6(typ, code uint8) string {
	switch typ {
	case V6DestinationUnreachable:
		return unreachableName6(code)
	case V6PacketTooBig:
		return nameTooBig
	case V6TimeExceeded:
		return exceededName(code)
	case V6ParameterProblem:
		if code == V6UnrecognizedNextHeader {
			return nameProtocol // what a host answers to a protocol that it does not know (RFC 8200, section 4)
		}
		return nameParameter
	}
	return nameOther
}

func unreachableName6(code uint8) string {
	switch code {
	case V6NoRoute:
		return nameNetwork
	case V6BeyondScopeOfSource, V6AddressUnreachable:
		return nameHost
	case V6PortUnreachable:
		return namePort
	case V6SourceRoutingHeaderError:
		return nameSourceRoute
	case V6AdministrativelyProhibited, V6SourceAddressFailedPolicy, V6RejectRoute:
		return nameProhibited
	}
	return nameOther
}

// exceededName names the codes of a time exceeded message, which both families share.
func exceededName(code uint8) string {
	switch code {
	case V4TimeToLiveExceeded:
		return nameTTL
	case V4ReassemblyTimeoutExceeded:
		return nameReassemblyTimeout
	}
	return nameOther
}
