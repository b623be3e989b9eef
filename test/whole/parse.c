/* SPDX-License-Identifier: MIT
 *
 * For test_third_party.sh: parses a document with libxml2 and forgets it.  The library's functions are
 * declared here, so that its run-time package is enough.
 */
#include <stdio.h>

void *xmlReadMemory(const char *text, int size, const char *url, const char *encoding, int options);
void xmlFreeDoc(void *document);
void xmlCleanupParser(void);

static const char text[] = "<shop><item price=\"17\">a book</item></shop>";

static __attribute__((noinline)) void *parse_prices(void)
{
    return xmlReadMemory(text, sizeof(text) - 1, "prices.xml", NULL, 0);
}

int main(int argc, char **argv)
{
    void *document = parse_prices();

    (void)argv;
    if (document == NULL)
        return 1;
    if (argc > 1)
        xmlFreeDoc(document);
    xmlCleanupParser();
    return 0;
}
