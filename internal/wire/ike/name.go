package ike

// NotifyName names an IKEv2 notify type as IANA does (RFC 7296, section 3.10.1, and the RFCs that
// add to it). It knows the errors, and the statuses of the first exchange.
func NotifyName(typ uint16) (string, bool) {
	if typ < firstStatus {
		return errorName(typ)
	}
	return statusName(typ)
}

func errorName(typ uint16) (string, bool) {
	names := [...]string{
		NotifyUnsupportedCriticalPayload: "UNSUPPORTED_CRITICAL_PAYLOAD", 4: "INVALID_IKE_SPI",
		NotifyInvalidMajorVersion: "INVALID_MAJOR_VERSION", NotifyInvalidSyntax: "INVALID_SYNTAX",
		9: "INVALID_MESSAGE_ID", 11: "INVALID_SPI", NotifyNoProposalChosen: "NO_PROPOSAL_CHOSEN",
		NotifyInvalidKEPayload: "INVALID_KE_PAYLOAD", 24: "AUTHENTICATION_FAILED", 34: "SINGLE_PAIR_REQUIRED",
		35: "NO_ADDITIONAL_SAS", 36: "INTERNAL_ADDRESS_FAILURE", 37: "FAILED_CP_REQUIRED", 38: "TS_UNACCEPTABLE",
		39: "INVALID_SELECTORS", 43: "TEMPORARY_FAILURE", 44: "CHILD_SA_NOT_FOUND",
	}
	return entry(names[:], int(typ))
}

func statusName(typ uint16) (string, bool) {
	names := [...]string{
		16384 - firstStatus:        "INITIAL_CONTACT",
		16388 - firstStatus:        "NAT_DETECTION_SOURCE_IP",
		16389 - firstStatus:        "NAT_DETECTION_DESTINATION_IP",
		NotifyCookie - firstStatus: "COOKIE",
		16404 - firstStatus:        "MULTIPLE_AUTH_SUPPORTED",         // RFC 4739
		16406 - firstStatus:        "REDIRECT_SUPPORTED",              // RFC 5685
		16407 - firstStatus:        "REDIRECT",                        // RFC 5685
		16418 - firstStatus:        "CHILDLESS_IKEV2_SUPPORTED",       // RFC 6023
		16430 - firstStatus:        "IKEV2_FRAGMENTATION_SUPPORTED",   // RFC 7383
		16431 - firstStatus:        "SIGNATURE_HASH_ALGORITHMS",       // RFC 7427
		16434 - firstStatus:        "PUZZLE",                          // RFC 8019
		16435 - firstStatus:        "USE_PPK",                         // RFC 8784
		16438 - firstStatus:        "INTERMEDIATE_EXCHANGE_SUPPORTED", // RFC 9242
	}
	return entry(names[:], int(typ)-firstStatus)
}

// entry returns the name at an index, if there is one.
func entry(names []string, i int) (string, bool) {
	if i >= len(names) {
		return "", false
	}
	return names[i], names[i] != ""
}

// Notify1Name names an IKEv1 notify type (RFC 2408, section 3.14.1; RFC 2407, section 4.6.3; RFC
// 3706, section 5.3).
func Notify1Name(typ uint16) (string, bool) {
	names := [...]string{
		1: "INVALID-PAYLOAD-TYPE", 2: "DOI-NOT-SUPPORTED", 3: "SITUATION-NOT-SUPPORTED", 4: "INVALID-COOKIE",
		Notify1InvalidMajorVersion: "INVALID-MAJOR-VERSION", Notify1InvalidMinorVersion: "INVALID-MINOR-VERSION",
		7: "INVALID-EXCHANGE-TYPE", 8: "INVALID-FLAGS", 9: "INVALID-MESSAGE-ID", 10: "INVALID-PROTOCOL-ID",
		11: "INVALID-SPI", 12: "INVALID-TRANSFORM-ID", 13: "ATTRIBUTES-NOT-SUPPORTED",
		Notify1NoProposalChosen: "NO-PROPOSAL-CHOSEN", 15: "BAD-PROPOSAL-SYNTAX", 16: "PAYLOAD-MALFORMED",
		17: "INVALID-KEY-INFORMATION", 18: "INVALID-ID-INFORMATION", 19: "INVALID-CERT-ENCODING",
		20: "INVALID-CERTIFICATE", 21: "CERT-TYPE-UNSUPPORTED", 22: "INVALID-CERT-AUTHORITY",
		23: "INVALID-HASH-INFORMATION", 24: "AUTHENTICATION-FAILED", 25: "INVALID-SIGNATURE",
		26: "ADDRESS-NOTIFICATION", 27: "NOTIFY-SA-LIFETIME", 28: "CERTIFICATE-UNAVAILABLE",
		29: "UNSUPPORTED-EXCHANGE-TYPE", 30: "UNEQUAL-PAYLOAD-LENGTHS",
	}
	switch typ {
	case 16384:
		return "CONNECTED", true
	case 24576:
		return "RESPONDER-LIFETIME", true
	case 24577:
		return "REPLAY-STATUS", true
	case 24578:
		return "INITIAL-CONTACT", true
	case 36136:
		return "R-U-THERE", true
	case 36137:
		return "R-U-THERE-ACK", true
	}
	return entry(names[:], int(typ))
}

// ExchangeName names an exchange type of either version, which do not overlap.
func ExchangeName(exchange uint8) (string, bool) {
	names := [...]string{
		ExchangeBase: "BASE", ExchangeMain: "MAIN", ExchangeAuthOnly: "AUTHENTICATION_ONLY", ExchangeAggressive: "AGGRESSIVE",
		ExchangeInformational1: "INFORMATIONAL", ExchangeTransaction: "TRANSACTION", ExchangeQuick: "QUICK", ExchangeNewGroup: "NEW_GROUP",
		ExchangeIKESAInit: "IKE_SA_INIT", ExchangeIKEAuth: "IKE_AUTH", ExchangeCreateChildSA: "CREATE_CHILD_SA",
		ExchangeInformational: "INFORMATIONAL", ExchangeIKESessionResume: "IKE_SESSION_RESUME",
		ExchangeIKEIntermediate: "IKE_INTERMEDIATE", ExchangeIKEFollowupKE: "IKE_FOLLOWUP_KE",
	}
	return entry(names[:], int(exchange))
}
