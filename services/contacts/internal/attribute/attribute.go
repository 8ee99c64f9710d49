// Package attribute knows by which attributes persons are found, and which spellings of a value are the same.
package attribute

import (
	"strings"

	"golang.org/x/text/cases"
)

// The attributes by which persons are found, in the order of their names (contract: contacts).
const (
	CPF                   = "cpf"
	Email                 = "email"
	IdentificationNumber  = "identification_number"
	IdentificationNumber2 = "identification_number2"
	IdentificationNumber3 = "identification_number3"
	IdentificationNumber4 = "identification_number4"
	Phone                 = "phone"
)

// maxLookup is how many bytes a form has at most, because an index of PostgreSQL takes no more than about 2,700. The 256 characters
// that can be asked for always have less, also after folding their case.
const maxLookup = 2048

// Lookup is the form by which persons are found who have this value: a CPF or phone number by its digits alone, an e-mail address
// without case, the others as they are. It is empty for an attribute by which nobody is found, and for a value that has no form:
// a CPF without digits, or one that is too long to be asked for.
func Lookup(name, value string) string {
	var form string
	switch name {
	case CPF, Phone:
		form = digits(value)
	case Email:
		form = cases.Fold().String(value)
	case IdentificationNumber, IdentificationNumber2, IdentificationNumber3, IdentificationNumber4:
		form = value
	}
	if len(form) > maxLookup {
		return ""
	}
	return form
}

func digits(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, s)
}
