package ike

// NotifyName names an IKEv2 notify type as IANA does (RFC 7296, section 3.10.1, and the RFCs that add to it).
// It knows the errors, and the statuses of the first exchange.
func NotifyName(typ uint16) (string, bool) {
	if typ < firstStatus {
		return errorName(typ)
	}
	return statusName(typ)
}

func errorName(typ uint16) (string, bool) {
	switch typ {
	case NotifyUnsupportedCriticalPayload:
		return "UNSUPPORTED_CRITICAL_PAYLOAD", true
	case 4:
		return "INVALID_IKE_SPI", true
	case NotifyInvalidMajorVersion:
		return "INVALID_MAJOR_VERSION", true
	case NotifyInvalidSyntax:
		return "INVALID_SYNTAX", true
	case 9:
		return "INVALID_MESSAGE_ID", true
	case 11:
		return "INVALID_SPI", true
	case NotifyNoProposalChosen:
		return "NO_PROPOSAL_CHOSEN", true
	case NotifyInvalidKEPayload:
		return "INVALID_KE_PAYLOAD", true
	case 24:
		return "AUTHENTICATION_FAILED", true
	case 34:
		return "SINGLE_PAIR_REQUIRED", true
	case 35:
		return "NO_ADDITIONAL_SAS", true
	case 36:
		return "INTERNAL_ADDRESS_FAILURE", true
	case 37:
		return "FAILED_CP_REQUIRED", true
	case 38:
		return "TS_UNACCEPTABLE", true
	case 39:
		return "INVALID_SELECTORS", true
	case 43:
		return "TEMPORARY_FAILURE", true
	case 44:
		return "CHILD_SA_NOT_FOUND", true
	}
	return "", false
}

func statusName(typ uint16) (string, bool) {
	switch typ {
	case 16384:
		return "INITIAL_CONTACT", true
	case 16388:
		return "NAT_DETECTION_SOURCE_IP", true
	case 16389:
		return "NAT_DETECTION_DESTINATION_IP", true
	case NotifyCookie:
		return "COOKIE", true
	case 16404:
		return "MULTIPLE_AUTH_SUPPORTED", true // RFC 4739
	case 16406:
		return "REDIRECT_SUPPORTED", true // RFC 5685
	case 16407:
		return "REDIRECT", true // RFC 5685
	case 16418:
		return "CHILDLESS_IKEV2_SUPPORTED", true // RFC 6023
	case 16430:
		return "IKEV2_FRAGMENTATION_SUPPORTED", true // RFC 7383
	case 16431:
		return "SIGNATURE_HASH_ALGORITHMS", true // RFC 7427
	case 16434:
		return "PUZZLE", true // RFC 8019
	case 16435:
		return "USE_PPK", true // RFC 8784
	case 16438:
		return "INTERMEDIATE_EXCHANGE_SUPPORTED", true // RFC 9242
	}
	return "", false
}

// Notify1Name names an IKEv1 notify type (RFC 2408, section 3.14.1; RFC 2407, section 4.6.3; RFC 3706, section 5.3).
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
	if int(typ) < len(names) {
		return names[typ], names[typ] != ""
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
	return "", false
}

// ExchangeName names an exchange type of either version, which do not overlap.
func ExchangeName(exchange uint8) (string, bool) {
	switch exchange {
	case ExchangeBase:
		return "BASE", true
	case ExchangeMain:
		return "MAIN", true
	case ExchangeAuthOnly:
		return "AUTHENTICATION_ONLY", true
	case ExchangeAggressive:
		return "AGGRESSIVE", true
	case ExchangeInformational1, ExchangeInformational:
		return "INFORMATIONAL", true
	case ExchangeTransaction:
		return "TRANSACTION", true
	case ExchangeQuick:
		return "QUICK", true
	case ExchangeNewGroup:
		return "NEW_GROUP", true
	case ExchangeIKESAInit:
		return "IKE_SA_INIT", true
	case ExchangeIKEAuth:
		return "IKE_AUTH", true
	case ExchangeCreateChildSA:
		return "CREATE_CHILD_SA", true
	case ExchangeIKESessionResume:
		return "IKE_SESSION_RESUME", true
	case ExchangeIKEIntermediate:
		return "IKE_INTERMEDIATE", true
	case ExchangeIKEFollowupKE:
		return "IKE_FOLLOWUP_KE", true
	}
	return "", false
}

// PayloadName names a payload type of either version as the RFCs abbreviate it. The types do not overlap.
func PayloadName(typ uint8) (string, bool) {
	switch typ {
	case PayloadSA, PayloadSA1:
		return "SA", true
	case PayloadKE, PayloadKE1:
		return "KE", true
	case PayloadID1:
		return "ID", true
	case PayloadHash1:
		return "HASH", true
	case PayloadIDi:
		return "IDi", true
	case PayloadIDr:
		return "IDr", true
	case PayloadCert:
		return "CERT", true
	case PayloadCertReq:
		return "CERTREQ", true
	case PayloadAuth:
		return "AUTH", true
	case PayloadNonce, PayloadNonce1:
		return "NONCE", true
	case PayloadNotify, PayloadNotify1:
		return "N", true
	case PayloadDelete, PayloadDelete1:
		return "D", true
	case PayloadVendorID, PayloadVendorID1:
		return "V", true
	case PayloadNATD1:
		return "NAT-D", true
	case PayloadEncrypted:
		return "SK", true
	case PayloadEncryptedFragment:
		return "SKF", true
	}
	return "", false
}
