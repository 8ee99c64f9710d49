package population

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"
)

// people are those who come to an instance. Few come very often, most once or twice.
type people struct {
	count int
	seen  []bool
	since []int64 // when each came first, in Unix seconds
}

func newPeople(spec Spec) *people {
	count := max(1, spec.Attendances*2/5, min(Known, spec.Attendances))
	return &people{count: count, seen: make([]bool, count), since: make([]int64, count)}
}

// next is who comes next.
func (p *people) next(random *rand.Rand) int {
	if random.IntN(4) > 0 {
		return random.IntN(p.count)
	}
	return int(math.Pow(random.Float64(), 3) * float64(p.count)) // the lower the number, the more often
}

// first reports whether somebody comes for the first time, and notes it.
func (p *people) first(person int) bool {
	if p.seen[person] {
		return false
	}
	p.seen[person] = true
	return true
}

func (p *people) id(person int) string {
	return identifier(time.Unix(p.since[person], 0), 3, int64(person))
}

// identifier is by what the channels know somebody: a number of a telephone, or what an app gave.
func (p *people) identifier(person int) string { return Identifier(person) }

// Identifier is a person's. Persons are numbered from 0, and the same in every instance.
func Identifier(person int) string {
	if person%3 == 0 {
		return Phone(person)
	}
	return fmt.Sprintf("app-%012x", uint64(person+1)*0x9e3779b97f4a7c15>>16)
}

// CPF is a person's, with its check digits.
func CPF(person int) string {
	digits := fmt.Sprintf("%09d", (person*7_654_321+123_456_789)%1_000_000_000)
	for range 2 {
		sum := 0
		for i, d := range digits {
			sum += int(d-'0') * (len(digits) + 1 - i)
		}
		digits += fmt.Sprint(sum * 10 % 11 % 10)
	}
	return digits
}

// Phone is a person's. It is shared by three persons now and then, as in a family.
func Phone(person int) string {
	if person%50 < 3 {
		person -= person % 50
	}
	return fmt.Sprintf("55%02d9%08d", 11+person%80, (person*48_271+1)%100_000_000)
}

// Email is a person's, as it is looked for.
func Email(person int) string {
	return fmt.Sprintf("%s.%d@exemplo.com.br", strings.ToLower(given[person%len(given)]), person)
}

var (
	given  = []string{"Ana", "Bruno", "Carla", "Diego", "Elisa", "Fabio", "Gisele", "Heitor", "Iara", "Joana", "Kaique", "Luiza", "Mateus"}
	family = []string{"Silva", "Santos", "Oliveira", "Souza", "Lima", "Pereira", "Ferreira", "Costa", "Rodrigues", "Almeida", "Nascimento"}
)

// meet stores the person of an attendance, who comes for the first time, and what is known about them.
func (m *maker) meet(ctx context.Context, a *attendance) error {
	person := a.person
	m.people.since[person] = a.at.Unix()
	m.total.Contacts++
	if err := m.to.add(ctx, contacts, m.Instance, m.people.id(person), m.people.identifier(person), a.at.UnixMicro()); err != nil {
		return err
	}
	cpf, phone := CPF(person), Phone(person)
	for _, known := range []struct {
		name, value string
		lookup      any
		part        float64
	}{
		{"cpf", cpf[:3] + "." + cpf[3:6] + "." + cpf[6:9] + "-" + cpf[9:], cpf, 0.9},
		{"email", Email(person), Email(person), 0.8},
		{"identification_number", fmt.Sprintf("M-%07d", person), fmt.Sprintf("M-%07d", person), 0.2},
		{"name", given[person%len(given)] + " " + family[person/7%len(family)] + " " + family[person%len(family)], nil, 0.97},
		{"phone", "+" + phone[:2] + " (" + phone[2:4] + ") " + phone[4:9] + "-" + phone[9:], phone, 0.95},
	} {
		if person >= Known && m.random.Float64() >= known.part {
			continue
		}
		m.total.Attributes++
		if err := m.to.add(ctx, attributes, m.Instance, m.people.id(person), known.name, known.value, known.lookup); err != nil {
			return err
		}
	}
	return nil
}

// Known is how many persons, the first ones, have every attribute, and come at least once within 20 times as many attendances.
const Known = 1000
