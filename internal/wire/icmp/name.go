package icmp

// The kinds of errors as in metric labels: see ErrorName.
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

// ErrorName returns the name of the kind of an ICMP error, the same for both families. The names
// are a closed set (ErrorNames), so they can be metric labels.
func ErrorName(v6 bool, typ, code uint8) string {
	switch {
	case v6 && typ == V6DestinationUnreachable:
		return unreachableName6(code)
	case v6 && typ == V6PacketTooBig:
		return NameTooBig
	case v6 && typ == V6TimeExceeded, !v6 && typ == V4TimeExceeded:
		return entry(code, []string{V4TimeToLiveExceeded: NameTTL, V4ReassemblyTimeoutExceeded: NameReassemblyTimeout})
	case v6 && typ == V6ParameterProblem && code == V6UnrecognizedNextHeader:
		return NameProtocol // what a host answers to a protocol that it does not know (RFC 8200, section 4)
	case v6 && typ == V6ParameterProblem, !v6 && typ == V4ParameterProblem:
		return NameParameter
	case !v6 && typ == V4DestinationUnreachable:
		return unreachableName4(code)
	}
	return NameOther
}

func unreachableName4(code uint8) string {
	return entry(code, []string{
		V4NetworkUnreachable: NameNetwork, V4NetworkUnknown: NameNetwork, V4NetworkUnreachableForTOS: NameNetwork,
		V4HostUnreachable: NameHost, V4HostUnknown: NameHost, V4SourceIsolated: NameHost, V4HostUnreachableForTOS: NameHost,
		V4ProtocolUnreachable: NameProtocol, V4PortUnreachable: NamePort, V4FragmentationNeeded: NameTooBig,
		V4SourceRouteFailed: NameSourceRoute, V4NetworkProhibited: NameProhibited, V4HostProhibited: NameProhibited,
		V4CommunicationProhibited: NameProhibited,
	})
}

func unreachableName6(code uint8) string {
	return entry(code, []string{
		V6NoRoute: NameNetwork, V6BeyondScopeOfSource: NameHost, V6AddressUnreachable: NameHost, V6PortUnreachable: NamePort,
		V6SourceRoutingHeaderError: NameSourceRoute, V6AdministrativelyProhibited: NameProhibited,
		V6SourceAddressFailedPolicy: NameProhibited, V6RejectRoute: NameProhibited,
	})
}

// entry returns the name of a code, NameOther if it has none.
func entry(code uint8, names []string) string {
	if int(code) >= len(names) || names[code] == "" {
		return NameOther
	}
	return names[code]
}
