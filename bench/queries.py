# SPDX-License-Identifier: MIT
#
# Prints SQL for the sqlite3 shell: tables of people and orders, indexes, joins, aggregates, updates and
# statements that are parsed once each.  Argument: statements of the last kind.
import random
import sys


def main(statements):
    chance = random.Random(666)
    print("CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT, city TEXT, born INTEGER);")
    print("CREATE TABLE purchase(id INTEGER PRIMARY KEY, person INTEGER, what TEXT, price REAL);")
    print("CREATE INDEX purchase_person ON purchase(person);")
    print("BEGIN;")
    for person in range(3000):
        city = chance.choice(["Bern", "Porto", "Turku", "Graz", "Lille"])
        print(f"INSERT INTO person VALUES({person},'name {chance.random():.9f}','{city}',{chance.randint(1920, 2020)});")
    for purchase in range(20000):
        print(f"INSERT INTO purchase VALUES({purchase},{chance.randrange(3000)},'thing {purchase % 97}',{chance.random() * 99:.2f});")
    print("COMMIT;")
    for _ in range(statements):
        kind = chance.randrange(4)
        if kind == 0:
            print(f"SELECT count(*), sum(price) FROM purchase WHERE person IN ({chance.randrange(3000)},{chance.randrange(3000)});")
        elif kind == 1:
            print(f"SELECT p.name, count(*), group_concat(b.what, '; ') FROM person p JOIN purchase b ON b.person = p.id WHERE p.id BETWEEN {(low := chance.randrange(3000))} AND {low + 20} GROUP BY p.name ORDER BY 2 DESC LIMIT 5;")
        elif kind == 2:
            print(f"UPDATE purchase SET price = price * 1.01, what = what || '.' WHERE person = {chance.randrange(3000)};")
        else:
            print(f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30) SELECT replace(upper(city), 'E', printf('%d', i)) FROM n JOIN person ON person.id = i + {chance.randrange(2900)} ORDER BY 1;")


main(int(sys.argv[1]) if len(sys.argv) > 1 else 20000)
