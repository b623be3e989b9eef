# SPDX-License-Identifier: MIT
#
# Prints SQL for the sqlite3 shell: people and what they bought, then statements of several kinds over them, each
# parsed anew.  Arguments: how many statements, and how many tables without rows to keep in the schema besides.
import random
import sys


CITIES = ["Bern", "Porto", "Turku", "Graz", "Lille"]
PEOPLE = 3000
PURCHASES = 20000


def tables(chance, empty_tables):
    yield "BEGIN;"
    yield "CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, city TEXT, born INTEGER);"
    yield "CREATE TABLE purchase(id INTEGER PRIMARY KEY, person INTEGER, what TEXT, price REAL);"
    yield "CREATE INDEX purchase_person ON purchase(person);"
    for table in range(empty_tables):
        yield f"CREATE TABLE note_{table}(id INTEGER PRIMARY KEY, person INTEGER, text TEXT DEFAULT 'none');"
        yield f"CREATE INDEX note_{table}_person ON note_{table}(person);"
    for person in range(PEOPLE):
        name, city, born = chance.random(), chance.choice(CITIES), chance.randint(1920, 2020)
        yield f"INSERT INTO person VALUES({person}, 'name {name:.9f}', '{city}', {born});"
    for purchase in range(PURCHASES):
        person, price = chance.randrange(PEOPLE), chance.random() * 99
        yield f"INSERT INTO purchase VALUES({purchase}, {person}, 'thing {purchase % 97}', {price:.2f});"
    yield "COMMIT;"


def total(person, other):
    return f"SELECT count(*), sum(price) FROM purchase WHERE person IN ({person}, {other});"


def best_customers(person, other):
    return (
        "SELECT p.name, count(*), group_concat(b.what, '; ') FROM person p JOIN purchase b ON b.person = p.id"
        f" WHERE p.id BETWEEN {person} AND {person + other % 40} GROUP BY p.name ORDER BY 2 DESC LIMIT 5;"
    )


def raise_price(person, other):
    return f"UPDATE purchase SET price = price * 1.01, what = what || '{other % 10}' WHERE person = {person};"


def cities(person, other):
    return (
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {1 + other % 50})"
        " SELECT replace(upper(city), 'E', printf('%d', i))"
        f" FROM n JOIN person ON person.id = i + {person} ORDER BY 1;"
    )


def main(statements, empty_tables):
    chance = random.Random(666)
    print("\n".join(tables(chance, empty_tables)))
    for _ in range(statements):
        kind = chance.choice([total, best_customers, raise_price, cities])
        print(kind(chance.randrange(PEOPLE), chance.randrange(PEOPLE)))


numbers = [int(argument) for argument in sys.argv[1:]]
main(*(numbers + [20000, 0][len(numbers):]))
